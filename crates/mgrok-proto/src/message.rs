//! The eighteen messages of frp, and the one value that can be any of them.
//!
//! Each message is a plain struct whose fields are named as on the wire. A field at its zero value is left out when written
//! and stays at it when absent, which is how versions of frp get along with each other.

mod hole;
mod proxy;
mod session;
mod udp;
mod visitor;
mod work;

use std::fmt;

use bytes::BytesMut;

pub use self::{
    hole::{
        DetectBehavior, NatHoleClient, NatHoleReport, NatHoleResp, NatHoleSid, NatHoleVisitor,
        PortsRange,
    },
    proxy::{CloseProxy, NewProxy, NewProxyResp},
    session::{ClientSpec, Login, LoginResp, Ping, Pong},
    udp::{UdpAddr, UdpPacket},
    visitor::{NewVisitorConn, NewVisitorConnResp},
    work::{NewWorkConn, ReqWorkConn, StartWorkConn},
};
use crate::go_json;

/// Makes [`Message`] and [`Kind`] from one list, so that a message cannot be in one and not in the other.
macro_rules! messages {
    ($( $(#[$doc:meta])* $name:ident($content:ty), $wire_name:literal; )*) => {
        /// Any message.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Message {
            $( $(#[$doc])* $name($content), )*
        }

        /// Which message: what a frame says of its body.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Kind {
            $( $(#[$doc])* $name, )*
        }

        impl Message {
            /// Which message this is.
            pub fn kind(&self) -> Kind {
                match self {
                    $( Self::$name(_) => Kind::$name, )*
                }
            }

            /// Appends the body of this message.
            pub(crate) fn write(&self, out: &mut BytesMut) {
                match self {
                    $( Self::$name(message) => go_json::write::<$name>(message, out), )*
                }
            }

            /// Reads the body of a message.
            pub(crate) fn read(kind: Kind, body: &[u8]) -> Result<Self, serde_json::Error> {
                match kind {
                    $( Kind::$name => go_json::read::<$name>(body).map(Self::from), )*
                }
            }
        }

        impl Kind {
            /// Every kind.
            pub const ALL: [Self; [$( Self::$name ),*].len()] = [$( Self::$name ),*];

            /// What frp calls this message, for logs.
            pub fn name(self) -> &'static str {
                match self {
                    $( Self::$name => $wire_name, )*
                }
            }
        }

        $(
            impl From<$name> for Message {
                fn from(message: $name) -> Self {
                    Self::$name(message.into())
                }
            }
        )*
    };
}

messages! {
    /// Client to server, first on a control connection.
    Login(Login), "Login";
    /// Server to client, the answer to it.
    LoginResp(LoginResp), "LoginResp";
    /// Client to server: publish this. In a box, being several times as large as any other.
    NewProxy(Box<NewProxy>), "NewProxy";
    /// Server to client, the answer to it.
    NewProxyResp(NewProxyResp), "NewProxyResp";
    /// Client to server: publish it no more.
    CloseProxy(CloseProxy), "CloseProxy";
    /// Client to server, first on a work connection.
    NewWorkConn(NewWorkConn), "NewWorkConn";
    /// Server to client: open one more work connection.
    ReqWorkConn(ReqWorkConn), "ReqWorkConn";
    /// Server to client on a work connection: from here on it is this user's.
    StartWorkConn(StartWorkConn), "StartWorkConn";
    /// Visitor to server, first on a visitor connection.
    NewVisitorConn(NewVisitorConn), "NewVisitorConn";
    /// Server to visitor, the answer to it.
    NewVisitorConnResp(NewVisitorConnResp), "NewVisitorConnResp";
    /// Client to server: still here.
    Ping(Ping), "Ping";
    /// Server to client, the answer to it.
    Pong(Pong), "Pong";
    /// Both ways on the work connection of a UDP proxy: one datagram.
    UdpPacket(UdpPacket), "UDPPacket";
    /// Visitor to server: punch a hole to this proxy.
    NatHoleVisitor(NatHoleVisitor), "NatHoleVisitor";
    /// Proxy's client to server: the other half of it.
    NatHoleClient(NatHoleClient), "NatHoleClient";
    /// Server to both: where and how to try.
    NatHoleResp(NatHoleResp), "NatHoleResp";
    /// Between the two that try, and server to client: which attempt this is.
    NatHoleSid(NatHoleSid), "NatHoleSid";
    /// Client to server: whether it worked.
    NatHoleReport(NatHoleReport), "NatHoleReport";
}

impl Message {
    /// What frp calls this message, for logs.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
