//! Who says what in the hellos, and who refuses what.

use bytes::{Bytes, BytesMut};
use mgrok_proto::{
    auth::Secret,
    hello::{
        AgreeError, Agreement, Answer, Bootstrap, Extension, Offer, RANDOM_LEN, answer,
        answer_with_random,
    },
    record::Algorithm::{self, Aes256Gcm, XChaCha20Poly1305},
    v2::{self, Content},
};
use proptest::{collection::vec, prelude::*};

const TELEPATHY: Extension = Extension::new("telepathy");
const TELEPORT: Extension = Extension::new("teleport");
const TIME_TRAVEL: Extension = Extension::new("time-travel");

fn offer(algorithms: &[Algorithm], extensions: &[Extension]) -> Offer {
    let bootstrap = Bootstrap {
        transport: "tcp".into(),
        tls: true,
        tcp_mux: true,
    };
    let random = std::array::from_fn(|at| at as u8);
    Offer::with_random(bootstrap, algorithms, extensions, random)
}

/// The payload of the only frame.
fn client_payload(offer: &Offer) -> Bytes {
    let mut frame = BytesMut::new();
    offer.encode(&mut frame);
    match v2::decode(&frame).unwrap().unwrap() {
        (Content::ClientHello(payload), len) if len == frame.len() => payload,
        other => panic!("{other:?}"),
    }
}

fn server_payload(answer: &Answer) -> Bytes {
    let mut frame = BytesMut::new();
    answer.encode(&mut frame);
    match v2::decode(&frame).unwrap().unwrap() {
        (Content::ServerHello(payload), len) if len == frame.len() => payload,
        other => panic!("{other:?}"),
    }
}

fn same_keys(left: &Agreement, right: &Agreement) -> bool {
    let [left, right] = [left, right].map(|agreement| agreement.keys(&Secret::new("secret")));
    left.client_to_server == right.client_to_server
        && left.server_to_client == right.server_to_client
}

#[test]
fn both_ends_agree() {
    let all = [Aes256Gcm, XChaCha20Poly1305];
    for (offered, expected) in [
        (&all[..], Aes256Gcm),
        (&[XChaCha20Poly1305, Aes256Gcm], XChaCha20Poly1305),
        (&all[1..], XChaCha20Poly1305),
    ] {
        let offer = offer(offered, &[]);
        let answer = answer(client_payload(&offer), &[]).unwrap();
        let ours = offer.agree(server_payload(&answer)).unwrap();
        let theirs = answer.outcome.unwrap();
        assert_eq!([ours.algorithm, theirs.algorithm], [expected; 2]);
        assert!(same_keys(&ours, &theirs));
    }
}

#[test]
fn the_clients_first_known_algorithm_is_taken() {
    let hello = client_payload(&offer(&[XChaCha20Poly1305, Aes256Gcm], &[]));
    let hello = String::from_utf8(hello.to_vec()).unwrap();
    let hello = hello.replace("[\"xchacha20", "[\"AES-256-GCM\",\"rot13\",\"xchacha20");
    let answer = answer(hello.into(), &[]).unwrap();
    assert_eq!(answer.outcome.unwrap().algorithm, XChaCha20Poly1305);
}

#[test]
fn extensions_are_those_of_both() {
    let offer = offer(&[Aes256Gcm], &[TELEPATHY, TELEPORT]);
    let hello = client_payload(&offer);
    assert!(hello.ends_with(br#","mgrokExtensions":["telepathy","teleport"]}"#));

    let answer = answer(hello, &[TIME_TRAVEL, TELEPORT]).unwrap();
    let chosen = server_payload(&answer);
    assert!(chosen.ends_with(br#"}},"mgrokExtensions":["teleport"]}"#));
    assert_eq!(answer.outcome.unwrap().extensions, [TELEPORT]);
    assert_eq!(offer.agree(chosen.clone()).unwrap().extensions, [TELEPORT]);

    // What was not on offer, or not known, is no agreement.
    let chosen = String::from_utf8(chosen.to_vec()).unwrap();
    let chosen = chosen.replace(
        "[\"teleport\"]",
        "[\"time-travel\",\"rot13\",\"telepathy\"]",
    );
    assert_eq!(offer.agree(chosen.into()).unwrap().extensions, [TELEPATHY]);
}

#[test]
fn the_binary_codec_of_datagrams_has_its_place_beside_that_of_messages() {
    let codec = Extension::BINARY_PACKETS;
    let offer = offer(&[Aes256Gcm], &[codec, TELEPORT]);
    let hello = String::from_utf8(client_payload(&offer).to_vec()).unwrap();
    let place = r#""message":{"codecs":["json"],"udpPacketCodecs":["binary-v1"]}"#;
    assert!(hello.contains(place), "{hello}");
    assert!(hello.ends_with(r#","mgrokExtensions":["teleport"]}"#));

    let answer = answer(hello.into(), &[codec, TELEPORT]).unwrap();
    let chosen = server_payload(&answer);
    let text = String::from_utf8(chosen.to_vec()).unwrap();
    let place = r#"{"selected":{"message":{"codec":"json","udpPacketCodec":"binary-v1"},"#;
    assert!(text.starts_with(place), "{text}");
    assert_eq!(answer.outcome.unwrap().extensions, [codec, TELEPORT]);
    assert_eq!(offer.agree(chosen).unwrap().extensions, [codec, TELEPORT]);
}

#[test]
fn without_both_ends_there_is_no_binary_codec_of_datagrams() {
    let (codec, all) = (Extension::BINARY_PACKETS, [Aes256Gcm]);
    // A server before 0.71, which knows no such member.
    let with = offer(&all, &[codec]);
    let answered = answer(client_payload(&with), &[]).unwrap();
    let chosen = server_payload(&answered);
    assert!(!chosen.windows(14).any(|it| it == b"udpPacketCodec"));
    assert_eq!(with.agree(chosen).unwrap().extensions, []);

    // Clients before 0.71, and such as offer other things.
    let hello = String::from_utf8(client_payload(&with).to_vec()).unwrap();
    let offered = r#","udpPacketCodecs":["binary-v1"]"#;
    for instead in [
        "",
        r#","udpPacketCodecs":null"#,
        r#","udpPacketCodecs":[]"#,
        r#","udpPacketCodecs":["binary-v2","BINARY-V1"]"#,
        // That is frp's and has its place elsewhere.
        r#"},"mgrokExtensions":["binary-v1"],"x":{"y":0"#,
    ] {
        let hello = hello.replace(offered, instead);
        let answered = answer(hello.into(), &[codec]).unwrap();
        assert_eq!(answered.outcome.unwrap().extensions, [], "{instead}");
    }
}

#[test]
fn a_codec_of_datagrams_that_was_not_offered_ends_the_connection() {
    let codec = Extension::BINARY_PACKETS;
    for (offered, chosen) in [(&[codec][..], "binary-v2"), (&[], "binary-v1")] {
        let offer = offer(&[Aes256Gcm], offered);
        let answer = answer(client_payload(&offer), &[]).unwrap();
        let hello = String::from_utf8(server_payload(&answer).to_vec()).unwrap();
        let instead = format!(r#""codec":"json","udpPacketCodec":"{chosen}""#);
        let hello = hello.replace(r#""codec":"json""#, &instead);
        match offer.agree(hello.into()) {
            Err(AgreeError::PacketCodec(name)) => assert_eq!(name, chosen),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn refusals_are_told_as_frp_tells_them() {
    #[track_caller]
    fn check(hello: &str, expected: &str) {
        let answer = answer(Bytes::copy_from_slice(hello.as_bytes()), &[]).unwrap();
        let payload = server_payload(&answer);
        assert_eq!(answer.outcome.unwrap_err().to_string(), expected);
        let wanted = format!(
            r#"{{"selected":{{"message":{{"codec":"json"}},"crypto":{{}}}},"error":"{expected}"}}"#
        );
        assert_eq!(payload, wanted);
        match offer(&[Aes256Gcm], &[]).agree(payload) {
            Err(AgreeError::Refused(why)) => assert_eq!(why, expected),
            other => panic!("{other:?}"),
        }
    }
    let hello = |codecs: &str, algorithms: &str, random: &str| {
        format!(
            r#"{{"capabilities":{{"message":{{"codecs":{codecs}}},"crypto":{{"algorithms":{algorithms},"clientRandom":"{random}"}}}}}}"#
        )
    };
    let random = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let short = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==";
    let (codec, algorithm) = (r#"["json"]"#, r#"["aes-256-gcm"]"#);
    answer(hello(codec, algorithm, random).into(), &[])
        .unwrap()
        .outcome
        .unwrap();

    check(&hello("[]", algorithm, random), "unsupported message codec");
    check(
        &hello(r#"["JSON","xml"]"#, "[]", short),
        "unsupported message codec",
    );
    check("{}", "unsupported message codec");
    check("null", "unsupported message codec");
    check(
        &hello(codec, "[]", short),
        "invalid crypto client random length 31, want 32",
    );
    check(
        &hello(codec, algorithm, ""),
        "invalid crypto client random length 0, want 32",
    );
    check(&hello(codec, "[]", random), "no supported crypto algorithm");
    check(
        &hello(codec, r#"["AES-256-GCM"]"#, random),
        "no supported crypto algorithm",
    );
}

#[test]
fn a_choice_that_was_not_on_offer_is_refused() {
    let offer = offer(&[Aes256Gcm], &[]);
    let answer = answer_with_random(client_payload(&offer), &[], [7; RANDOM_LEN]).unwrap();
    let good = String::from_utf8(server_payload(&answer).to_vec()).unwrap();
    let check = |from: &str, to: &str, expected: &str| {
        assert!(good.contains(from));
        let error = offer.agree(good.replace(from, to).into()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        "aes-256-gcm",
        "xchacha20-poly1305",
        "the server chose the crypto algorithm `xchacha20-poly1305`, which was not offered",
    );
    check(
        "aes-256-gcm",
        "rot13",
        "the server chose the crypto algorithm `rot13`, which was not offered",
    );
    check(
        "json",
        "xml",
        "the server chose the message codec `xml`, which was not offered",
    );
    check(
        "\"serverRandom\":\"BwcH",
        "\"serverRandom\":\"",
        "the server's random value has 29 bytes instead of 32",
    );
    check("}}}", "}}", "malformed hello of the server");
}

#[test]
fn a_hello_that_cannot_be_read_gets_no_answer() {
    for hello in ["", "{", "[]", r#"{"bootstrap":[]}"#, "{}{}"] {
        let hello = Bytes::copy_from_slice(hello.as_bytes());
        assert!(answer(hello, &[]).is_err());
    }
}

#[test]
fn every_connection_has_random_values_of_its_own() {
    let offer = || Offer::new(Bootstrap::default(), &Algorithm::by_speed(), &[]);
    assert_ne!(client_payload(&offer()), client_payload(&offer()));
    let hello = client_payload(&offer());
    let answer = || server_payload(&answer(hello.clone(), &[]).unwrap());
    assert_ne!(answer(), answer());
}

#[test]
fn a_changed_hello_changes_the_keys() {
    let offer = offer(&[XChaCha20Poly1305, Aes256Gcm], &[]);
    let hello = String::from_utf8(client_payload(&offer).to_vec()).unwrap();
    // Somebody on the way takes out the algorithm that the client prefers.
    let weaker = hello.replace("\"xchacha20-poly1305\",", "");
    let answer = answer(weaker.into(), &[]).unwrap();
    let ours = offer.agree(server_payload(&answer)).unwrap();
    assert_eq!(ours.algorithm, Aes256Gcm);
    assert!(!same_keys(&ours, &answer.outcome.unwrap()));
}

proptest! {
    #[test]
    fn damaged_hellos_never_panic(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let offer = offer(&[Aes256Gcm, XChaCha20Poly1305], &[TELEPORT]);
        let damaged = |payload: Bytes| {
            let mut payload = payload.to_vec();
            for (at, byte) in &damage {
                let at = at.index(payload.len());
                payload[at] = *byte;
            }
            Bytes::from(payload)
        };
        if let Ok(answer) = answer(damaged(client_payload(&offer)), &[TELEPORT])
            && let Ok(agreement) = &answer.outcome
        {
            let ours = offer.agree(server_payload(&answer)).unwrap();
            prop_assert_eq!(ours.algorithm, agreement.algorithm);
        }
        let answer = answer(client_payload(&offer), &[TELEPORT]).unwrap();
        let _ = offer.agree(damaged(server_payload(&answer)));
    }
}
