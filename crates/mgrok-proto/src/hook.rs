//! Hooks: what a server asks its plugins, and what they answer. JSON in the bodies of HTTP requests.
//!
//! A content is the message that came from the client, with the same members, and whose it is beside them. A plugin may
//! send it back changed.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::{de::MapAccess, ser::SerializeMap};

use crate::{
    go_json::{self, Go, Object},
    message::{CloseProxy, Login, NewProxy, NewWorkConn, Ping},
};

/// The version of this interface, as frp 0.70.1 reports it.
pub const VERSION: &str = "0.1.0";

/// What happens on a server that plugins may be asked about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Op {
    /// A proxy is gone. Plugins are told, not asked.
    CloseProxy,
    /// A client logs in.
    Login,
    /// A client wants to publish a proxy.
    NewProxy,
    /// A user has come to a proxy.
    NewUserConn,
    /// A client offers a work connection.
    NewWorkConn,
    /// A client gives a sign of life.
    Ping,
}

impl Op {
    /// Every operation, in frp's order.
    pub const ALL: [Self; 6] = [
        Self::Login,
        Self::NewProxy,
        Self::CloseProxy,
        Self::Ping,
        Self::NewWorkConn,
        Self::NewUserConn,
    ];

    /// As it is written in requests and configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloseProxy => "CloseProxy",
            Self::Login => "Login",
            Self::NewProxy => "NewProxy",
            Self::NewUserConn => "NewUserConn",
            Self::NewWorkConn => "NewWorkConn",
            Self::Ping => "Ping",
        }
    }
}

/// Whose session it is about. None of its members is ever left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Client {
    /// The user that it logged in as; may be empty.
    pub user: String,
    /// What its operator wants hooks to know; `null` if there is nothing.
    pub metas: BTreeMap<String, String>,
    /// The session's name.
    pub run_id: String,
}

/// The content of [`Op::Login`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoginContent {
    /// What the client sent. `run_id` is empty unless it comes back.
    pub login: Login,
    /// Where it comes from, as `ip:port`.
    pub client_address: String,
}

/// The content of all other operations.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientContent<M> {
    /// Whose session it is.
    pub client: Client,
    /// What it is about.
    pub message: M,
}

/// A user who has come to a proxy. None of its members is ever left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NewUserConn {
    /// The proxy's name.
    pub proxy_name: String,
    /// The proxy's type.
    pub proxy_type: String,
    /// Where the user comes from, as `ip:port`.
    pub remote_addr: String,
}

/// What a plugin answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer<C> {
    /// It must not be.
    pub reject: bool,
    /// Why not.
    pub reject_reason: String,
    /// It may be as it is, whatever `content` says.
    pub unchange: bool,
    /// What is to be instead, all of it. `None` if the answer has none, or `null`.
    pub content: Option<C>,
}

/// Why an answer cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AnswerError(#[from] serde_json::Error);

/// What plugins are asked about.
pub trait Content: Sized {
    /// The operation that it belongs to.
    const OP: Op;

    /// The body of a request.
    fn request(&self) -> Bytes;

    /// Reads the body of an answer.
    fn answer(json: &[u8]) -> Result<Answer<Self>, AnswerError>;
}

macro_rules! contents {
    ($( $content:ty => $op:ident; )*) => { $(
        impl Content for $content {
            const OP: Op = Op::$op;

            fn request(&self) -> Bytes {
                request(Self::OP, self)
            }

            fn answer(json: &[u8]) -> Result<Answer<Self>, AnswerError> {
                Ok(go_json::read(json)?)
            }
        }
    )* };
}

contents! {
    LoginContent => Login;
    ClientContent<NewProxy> => NewProxy;
    ClientContent<CloseProxy> => CloseProxy;
    ClientContent<Ping> => Ping;
    ClientContent<NewWorkConn> => NewWorkConn;
    ClientContent<NewUserConn> => NewUserConn;
}

fn request(op: Op, content: &impl Object) -> Bytes {
    let mut body = BytesMut::new();
    for part in ["{\"version\":\"", VERSION, "\",\"op\":\"", op.name()] {
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(b"\",\"content\":");
    go_json::write(content, &mut body);
    body.extend_from_slice(b"}");
    body.freeze()
}

impl Object for Client {
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            name if name.eq_ignore_ascii_case("user") => {
                go_json::read_member(&mut self.user, members)
            }
            name if name.eq_ignore_ascii_case("metas") => {
                go_json::read_member(&mut self.metas, members)
            }
            name if name.eq_ignore_ascii_case("run_id") => {
                go_json::read_member(&mut self.run_id, members)
            }
            _ => go_json::skip_member(members),
        }
    }

    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        members.serialize_entry("user", &self.user)?;
        // frp: a map that was left out on the wire is not there (Go's nil).
        let metas = (!self.metas.is_empty()).then_some(&self.metas);
        members.serialize_entry("metas", &metas)?;
        members.serialize_entry("run_id", &self.run_id)
    }
}

impl Object for LoginContent {
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        if name.eq_ignore_ascii_case("client_address") {
            return go_json::read_member(&mut self.client_address, members);
        }
        self.login.read_member(name, members)
    }

    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        self.login.write_members(members)?;
        go_json::write_member("client_address", &self.client_address, members)
    }
}

impl<T: Object> Object for ClientContent<T> {
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        if name.eq_ignore_ascii_case("user") {
            return go_json::read_member(&mut self.client, members);
        }
        self.message.read_member(name, members)
    }

    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        members.serialize_entry("user", &Go(&self.client))?;
        self.message.write_members(members)
    }
}

impl Object for NewUserConn {
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            name if name.eq_ignore_ascii_case("proxy_name") => {
                go_json::read_member(&mut self.proxy_name, members)
            }
            name if name.eq_ignore_ascii_case("proxy_type") => {
                go_json::read_member(&mut self.proxy_type, members)
            }
            name if name.eq_ignore_ascii_case("remote_addr") => {
                go_json::read_member(&mut self.remote_addr, members)
            }
            _ => go_json::skip_member(members),
        }
    }

    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        members.serialize_entry("proxy_name", &self.proxy_name)?;
        members.serialize_entry("proxy_type", &self.proxy_type)?;
        members.serialize_entry("remote_addr", &self.remote_addr)
    }
}

impl<C: Object> Object for Answer<C> {
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            name if name.eq_ignore_ascii_case("reject") => {
                go_json::read_member(&mut self.reject, members)
            }
            name if name.eq_ignore_ascii_case("reject_reason") => {
                go_json::read_member(&mut self.reject_reason, members)
            }
            name if name.eq_ignore_ascii_case("unchange") => {
                go_json::read_member(&mut self.unchange, members)
            }
            name if name.eq_ignore_ascii_case("content") => {
                go_json::read_member(&mut self.content, members)
            }
            _ => go_json::skip_member(members),
        }
    }

    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        members.serialize_entry("reject", &self.reject)?;
        members.serialize_entry("reject_reason", &self.reject_reason)?;
        members.serialize_entry("unchange", &self.unchange)?;
        members.serialize_entry("content", &self.content.as_ref().map(Go))
    }
}
