//! NTLMv2 (MS-NLMP), as far as the client of a proxy needs it: no session security, no message integrity code. Does no
//! I/O.

use std::io;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use bytes::{Buf, BufMut};
use hmac::{Hmac, KeyInit, Mac};
use md4::{Digest, Md4};
use md5::Md5;
use mgrok_proto::auth::Secret;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
const HASH_LEN: usize = 16;
const NONCE_LEN: usize = 8;
/// The length of the third message without its payload.
const AUTHENTICATE_LEN: usize = 64;

/// The flags of our capabilities, MS-NLMP 2.2.2.5: Unicode, request the server's name, NTLM, always sign (required,
/// though without effect when nothing is signed), NTLM version 2, request target information, 128 and 56 bits.
const FLAGS: u32 = 0x0000_0001
    | 0x0000_0004
    | 0x0000_0200
    | 0x0000_8000
    | 0x0008_0000
    | 0x0080_0000
    | 0x2000_0000
    | 0x8000_0000;

/// The attribute of the target information that holds the server's time, and the one that ends the list.
const AV_TIMESTAMP: u16 = 7;
const AV_END: u16 = 0;

/// The first message: signature, type, [`FLAGS`], and neither domain nor workstation.
pub(super) const NEGOTIATE: [u8; 32] =
    *b"NTLMSSP\0\x01\0\0\0\x05\x82\x88\xa0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The fields of the second message that the answer needs.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Challenge<'a> {
    /// In UTF-16.
    target_name: &'a [u8],
    nonce: [u8; NONCE_LEN],
    /// A list of attribute-value pairs.
    target_info: &'a [u8],
}

/// The credentials of the client.
pub(super) struct Identity<'a> {
    user: &'a str,
    /// `None`: the proxy's domain.
    domain: Option<&'a str>,
    password: &'a Secret,
}

/// The client's challenge, MS-NLMP 2.2.2.7: a random nonce and a timestamp.
struct ClientChallenge {
    nonce: [u8; NONCE_LEN],
    /// In units of 100 ns since 1601.
    time: u64,
}

/// The two responses to a challenge, MS-NLMP 3.3.2.
struct Responses {
    nt: Vec<u8>,
    lm: [u8; HASH_LEN + NONCE_LEN],
}

impl<'a> Challenge<'a> {
    /// Reads a message; `None` if it is not well-formed.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut rest = message.strip_prefix(SIGNATURE)?;
        if rest.try_get_u32_le().ok()? != 2 {
            return None;
        }
        let target_name = field(message, &mut rest)?;
        let _flags = rest.try_get_u32_le().ok()?;
        let nonce = *rest.split_off(..NONCE_LEN)?.first_chunk()?;
        let _reserved = rest.try_get_u64_le().ok()?;
        Some(Self {
            target_name,
            nonce,
            target_info: field(message, &mut rest)?,
        })
    }

    /// The server's time, if the message has it.
    fn time(&self) -> Option<u64> {
        let mut rest = self.target_info;
        loop {
            let id = rest.try_get_u16_le().ok()?;
            let len = rest.try_get_u16_le().ok()?;
            let mut value = rest.split_off(..usize::from(len))?;
            match id {
                AV_END => return None,
                AV_TIMESTAMP => return value.try_get_u64_le().ok(),
                _ => {}
            }
        }
    }
}

/// Reads a length, the allocated length and an offset from `rest`, and returns that part of `message`.
fn field<'a>(message: &'a [u8], rest: &mut &[u8]) -> Option<&'a [u8]> {
    let len = usize::from(rest.try_get_u16_le().ok()?);
    let _allocated = rest.try_get_u16_le().ok()?;
    let offset = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    match len {
        // Some servers set no offset for an empty field.
        0 => Some(&[]),
        _ => message.get(offset..offset.checked_add(len)?),
    }
}

impl<'a> Identity<'a> {
    /// `user` may be `DOMAIN\user`, or `user@domain`, which contains the domain.
    pub(super) fn new(user: &'a str, password: &'a Secret) -> Self {
        let (domain, user) = match user.split_once('\\') {
            Some((domain, user)) => (Some(domain), user),
            None if user.contains('@') => (Some(""), user),
            None => (None, user),
        };
        Self {
            user,
            domain,
            password,
        }
    }

    /// The third message.
    pub(super) fn answer(&self, challenge: &Challenge<'_>) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| io::Error::other("no random numbers"))?;
        let time = challenge.time().unwrap_or_else(now);
        Ok(self.authenticate(challenge, &ClientChallenge { nonce, time }))
    }

    fn authenticate(&self, challenge: &Challenge<'_>, now: &ClientChallenge) -> Vec<u8> {
        let domain = match self.domain {
            Some(domain) => utf16(domain),
            None => challenge.target_name.to_vec(),
        };
        let key = response_key(self.user, self.password, &domain);
        let responses = respond(&key, challenge, now);
        let parts = [
            &responses.lm,
            &responses.nt[..],
            &domain,
            &utf16(self.user),
            // Neither a workstation name nor a session key.
            &[],
            &[],
        ];
        let mut message = Vec::new();
        message.put_slice(SIGNATURE);
        message.put_u32_le(3);
        let mut offset = AUTHENTICATE_LEN;
        for part in parts {
            put_field(&mut message, part.len(), offset);
            offset += part.len();
        }
        message.put_u32_le(FLAGS);
        message.extend(parts.concat());
        message
    }
}

/// Writes the length and offset of a field. All fields together are bounded by the sizes of a head and a URL.
fn put_field(message: &mut Vec<u8>, len: usize, offset: usize) {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    message.put_u16_le(len);
    message.put_u16_le(len);
    message.put_u32_le(u32::try_from(offset).unwrap_or(u32::MAX));
}

/// The function NTOWFv2 of MS-NLMP.
fn response_key(user: &str, password: &Secret, domain: &[u8]) -> [u8; HASH_LEN] {
    let hash = Md4::digest(utf16(password.expose()));
    hmac_md5(&hash, &[&utf16(&user.to_uppercase()), domain])
}

fn respond(key: &[u8; HASH_LEN], challenge: &Challenge<'_>, now: &ClientChallenge) -> Responses {
    let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
    blob.put_u64_le(now.time);
    blob.put_slice(&now.nonce);
    blob.put_u32_le(0);
    blob.put_slice(challenge.target_info);
    blob.put_u32_le(0);
    let proof = hmac_md5(key, &[&challenge.nonce, &blob]);
    let mut lm = [0; HASH_LEN + NONCE_LEN];
    // If the server sends its time, the LM response stays zero (MS-NLMP 3.1.5.1.2).
    if challenge.time().is_none() {
        lm[..HASH_LEN].copy_from_slice(&hmac_md5(key, &[&challenge.nonce, &now.nonce]));
        lm[HASH_LEN..].copy_from_slice(&now.nonce);
    }
    Responses {
        nt: [&proof, &blob[..]].concat(),
        lm,
    }
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; HASH_LEN] {
    // Cannot fail: HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else {
        return [0; HASH_LEN];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn now() -> u64 {
    /// The time from 1601 to 1970.
    const BEFORE_UNIX: Duration = Duration::from_secs(11_644_473_600);

    let since_unix = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from((since_unix + BEFORE_UNIX).as_nanos() / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// MS-NLMP 4.2.4.3: the challenge of `Server` in `Domain`.
    pub(in crate::outbound) const CHALLENGE: &[u8] =
        b"NTLMSSP\0\x02\0\0\0\x0c\0\x0c\0\x38\0\0\0\x33\x82\x8a\xe2\
        \x01\x23\x45\x67\x89\xab\xcd\xef\0\0\0\0\0\0\0\0\x24\0\x24\0\x44\0\0\0\
        \x06\0\x70\x17\0\0\0\x0fS\0e\0r\0v\0e\0r\0\
        \x02\0\x0c\0D\0o\0m\0a\0i\0n\0\x01\0\x0c\0S\0e\0r\0v\0e\0r\0\0\0\0\0";
    /// MS-NLMP 4.2.1.
    const CLIENT: ClientChallenge = ClientChallenge {
        nonce: [0xaa; NONCE_LEN],
        time: 0,
    };
    /// MS-NLMP 4.2.4.1.1.
    const KEY: [u8; HASH_LEN] = [
        0x0c, 0x86, 0x8a, 0x40, 0x3b, 0xfd, 0x7a, 0x93, 0xa3, 0x00, 0x1e, 0xf2, 0x2e, 0xf0, 0x2e,
        0x3f,
    ];
    /// MS-NLMP 4.2.4.2.1.
    const LM_RESPONSE: [u8; 24] = [
        0x86, 0xc3, 0x50, 0x97, 0xac, 0x9c, 0xec, 0x10, 0x25, 0x54, 0x76, 0x4a, 0x57, 0xcc, 0xcc,
        0x19, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
    ];
    /// MS-NLMP 4.2.4.2.2.
    const NT_PROOF: [u8; HASH_LEN] = [
        0x68, 0xcd, 0x0a, 0xb8, 0x51, 0xe5, 0x1c, 0x96, 0xaa, 0xbc, 0x92, 0x7b, 0xeb, 0xef, 0x6a,
        0x1c,
    ];

    /// Whether a third message proves that its sender knows the password `Password` of `User` in `Domain`.
    pub(in crate::outbound) fn proves(message: &[u8]) -> bool {
        let challenge = Challenge::parse(CHALLENGE).unwrap();
        let mut fields = &message[20..];
        let nt = field(message, &mut fields).unwrap();
        let domain = field(message, &mut fields).unwrap();
        let user = field(message, &mut fields).unwrap();
        let (proof, blob) = nt.split_at(HASH_LEN);
        message.starts_with(b"NTLMSSP\0\x03\0\0\0")
            && [domain, user] == [utf16("Domain"), utf16("User")]
            && proof == hmac_md5(&KEY, &[&challenge.nonce, blob])
    }

    #[test]
    fn the_vectors_of_the_standard_are_met() {
        let key = response_key("User", &Secret::new("Password"), &utf16("Domain"));
        assert_eq!(key, KEY);
        let challenge = Challenge::parse(CHALLENGE).unwrap();
        assert_eq!(challenge.target_name, utf16("Server"));
        assert_eq!(challenge.target_info.len(), 36);
        let responses = respond(&key, &challenge, &CLIENT);
        assert_eq!(responses.lm, LM_RESPONSE);
        assert_eq!(responses.nt[..HASH_LEN], NT_PROOF);
        let blob = [
            &b"\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\0\0\0\0"[..],
            challenge.target_info,
            b"\0\0\0\0",
        ];
        assert_eq!(responses.nt[HASH_LEN..], blob.concat());
    }

    #[test]
    fn messages_are_these_bytes() {
        assert_eq!(NEGOTIATE[12..16], FLAGS.to_le_bytes());
        let (challenge, password) = (
            Challenge::parse(CHALLENGE).unwrap(),
            Secret::new("Password"),
        );
        let identity = Identity::new(r"Domain\User", &password);
        let message = identity.authenticate(&challenge, &CLIENT);
        assert_eq!(
            message[..AUTHENTICATE_LEN],
            *b"NTLMSSP\0\x03\0\0\0\
            \x18\0\x18\0\x40\0\0\0\x54\0\x54\0\x58\0\0\0\
            \x0c\0\x0c\0\xac\0\0\0\x08\0\x08\0\xb8\0\0\0\
            \0\0\0\0\xc0\0\0\0\0\0\0\0\xc0\0\0\0\x05\x82\x88\xa0"
        );
        assert_eq!(message[0x40..0x58], LM_RESPONSE);
        assert_eq!(message[0x58..0x68], NT_PROOF);
        assert_eq!(message[0xac..], utf16("DomainUser"));
    }

    #[test]
    fn the_domain_is_that_of_the_user_or_of_the_server() {
        let (challenge, password) = (
            Challenge::parse(CHALLENGE).unwrap(),
            Secret::new("Password"),
        );
        for (user, tail) in [
            (r"D\u", "Du"),
            ("u@d.example", "u@d.example"),
            ("u", "Serveru"),
        ] {
            let message = Identity::new(user, &password).authenticate(&challenge, &CLIENT);
            assert_eq!(message[0xac..], utf16(tail), "{user}");
        }
    }

    #[test]
    fn the_time_is_the_servers_if_it_tells() {
        let target_info = b"\x02\0\x02\0D\0\x07\0\x08\0\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0";
        let challenge = Challenge {
            target_name: b"",
            nonce: [0; NONCE_LEN],
            target_info,
        };
        assert_eq!(challenge.time(), Some(0x0807_0605_0403_0201));
        assert_eq!(respond(&KEY, &challenge, &CLIENT).lm, [0; 24]);
        assert_eq!(Challenge::parse(CHALLENGE).unwrap().time(), None);
    }

    #[test]
    fn a_cut_challenge_is_none() {
        for len in 0..CHALLENGE.len() {
            assert_eq!(Challenge::parse(&CHALLENGE[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_challenge_is_survived(tail in proptest::collection::vec(any::<u8>(), 0..120)) {
            let message = [b"NTLMSSP\0\x02\0\0\0", &tail[..]].concat();
            if let Some(challenge) = Challenge::parse(&message) {
                let password = Secret::new("Password");
                Identity::new("u", &password).answer(&challenge).unwrap();
            }
        }
    }
}
