use super::*;
use crate::rpc::tests::{CLUSTER, House, Keys, SECRET, node, start};
use crate::transport::{Listen, Stream, listen};
use crate::{Connection, Keyring, Server};
use std::sync::Arc;

fn user(name: &str, key_id: &str, key: &[u8]) -> Credential {
    Credential::User { name: name.to_owned(), key_id: key_id.to_owned(), key: key.to_vec() }
}

const ANNS: &[u8] = b"the key of ann, long enough";

async fn refusal(credential: Credential, cluster: Option<[u8; 16]>) -> Error {
    let server = start(House::default()).await;
    let error = Connection::open(&server.addr, credential, cluster, 0).await.unwrap_err();
    assert!(server.house.sessions.lock().unwrap().is_empty());
    server.assert_up().await;
    error
}

#[tokio::test]
async fn every_kind_of_credential_becomes_its_principal() {
    let server = start(House::default()).await;
    let ticket = Bytes::from_static(b"ticket of bob");
    let cases = [
        (node(), Principal::Node("ss1".to_owned())),
        (user("ann", "k1", ANNS), Principal::User("ann".to_owned())),
        (
            Credential::Ticket { ticket: ticket.clone(), key: vec![9; 32] },
            Principal::Ticket { ticket, user: "bob".to_owned() },
        ),
    ];
    for (credential, principal) in cases {
        // A client that does not know its cluster learns it.
        let connection = Connection::open(&server.addr, credential, None, 77).await.unwrap();
        assert_eq!(connection.cluster_id(), Some(CLUSTER));
        assert_eq!(connection.server_name(), "nm");
        let session = server.house.sessions.lock().unwrap().pop().unwrap();
        assert_eq!((&session.peer.principal, session.peer.purpose), (&principal, 77));
    }
}

#[tokio::test]
async fn a_server_of_another_cluster_is_not_talked_to() {
    assert_eq!(refusal(node(), Some([8; 16])).await.code, Code::WrongCluster);
}

#[tokio::test]
async fn a_wrong_cluster_secret_is_refused() {
    let wrong = Credential::Node { name: "ss1".to_owned(), secret: vec![1; 32] };
    assert_eq!(refusal(wrong, Some(CLUSTER)).await.code, Code::BadProof);
}

#[tokio::test]
async fn nobody_can_find_out_which_users_there_are() {
    let wrong_key = refusal(user("ann", "k1", &[1; 27]), None).await;
    assert_eq!(wrong_key.code, Code::BadProof);
    assert_eq!(refusal(user("ann", "k2", ANNS), None).await, wrong_key);
    assert_eq!(refusal(user("eve", "k1", ANNS), None).await, wrong_key);
}

#[tokio::test]
async fn a_ticket_without_its_key_or_without_a_maker_is_refused() {
    let stolen = Credential::Ticket { ticket: Bytes::from_static(b"ticket of bob"), key: vec![1; 32] };
    assert_eq!(refusal(stolen, None).await.code, Code::BadProof);
    let forged = Credential::Ticket { ticket: Bytes::from_static(b"i am bob"), key: vec![9; 32] };
    assert_eq!(refusal(forged, None).await.code, Code::BadCapability);
    let endless = Credential::Ticket { ticket: vec![0; TICKET_MAX + 1].into(), key: vec![9; 32] };
    assert_eq!(refusal(endless, None).await.code, Code::BadRequest);
}

#[tokio::test]
async fn an_empty_key_opens_nothing() {
    assert_eq!(refusal(user("ann", "k1", b""), None).await.code, Code::NotSignedIn);

    struct Careless;
    impl Keyring for Careless {
        fn cluster_id(&self) -> Option<[u8; 16]> {
            None
        }
        fn node_secret(&self) -> Option<Vec<u8>> {
            Some(Vec::new())
        }
        fn user_key(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
        fn ticket_key(&self, _: &[u8]) -> Result<(Vec<u8>, String)> {
            Ok((Vec::new(), "root".to_owned()))
        }
    }
    let listener = listen("127.0.0.1:0", false).await.unwrap();
    let addr = listener.local_addr().to_string();
    let server = tokio::spawn(Server::run(
        listener,
        Arc::new(Careless),
        Arc::new(House::default()),
        std::future::pending(),
    ));
    let (mut reader, mut writer) = dial(&addr).await;
    let hello = hello(&node(), None, 0).unwrap();
    send(&mut *writer, Kind::Hello, hello.clone()).await.unwrap();
    let challenge = expect(&mut reader, Kind::Challenge).await.unwrap();
    let answer = Transcript { hello, challenge }.answer(b"", Role::Client).unwrap();
    send(&mut *writer, Kind::Proof, answer).await.unwrap();
    assert_eq!(expect(&mut reader, Kind::Welcome).await.unwrap_err().code, Code::BadProof);
    server.abort();
}

async fn dial(addr: &str) -> (FrameReader, Box<dyn AsyncWrite + Send + Unpin>) {
    use crate::transport::{Dial, Tcp};
    let Stream { reader, writer, .. } = Tcp.dial(addr).await.unwrap();
    (FrameReader::new(reader, FrameCodec::unproven()), writer)
}

/// How a server that does not hold the secret may try to answer a proof.
#[derive(Clone, Copy)]
enum Trick {
    Guess,
    Reflect,
    SkipTheProof,
}

#[tokio::test]
async fn a_server_without_the_secret_is_found_out_before_anything_is_said() {
    for trick in [Trick::Guess, Trick::Reflect, Trick::SkipTheProof] {
        let mut listener = listen("127.0.0.1:0", false).await.unwrap();
        let addr = listener.local_addr().to_string();
        let fake = tokio::spawn(async move {
            let Stream { reader, mut writer, .. } = Listen::accept(&mut listener).await.unwrap();
            let mut reader = FrameReader::new(reader, FrameCodec::unproven());
            expect(&mut reader, Kind::Hello).await.unwrap();
            let mac = match trick {
                Trick::SkipTheProof => Bytes::new(),
                _ => {
                    let challenge = Challenge {
                        cluster_id: Bytes::copy_from_slice(&CLUSTER),
                        nonce: nonce().unwrap(),
                        server_name: String::new(),
                    };
                    send(&mut *writer, Kind::Challenge, challenge.encode_to_vec().into()).await.unwrap();
                    let proof = expect(&mut reader, Kind::Proof).await.unwrap();
                    match trick {
                        Trick::Reflect => decode::<Answer>(&proof).unwrap().mac,
                        _ => Bytes::from_static(&[3; 32]),
                    }
                }
            };
            send(&mut *writer, Kind::Welcome, Answer { mac }.encode_to_vec().into()).await.unwrap();
            // Whatever the client says after that must be nothing.
            reader.next().await
        });
        let error = Connection::open(&addr, node(), Some(CLUSTER), 0).await.unwrap_err();
        let expected = match trick {
            Trick::SkipTheProof => Code::BadRequest,
            _ => Code::BadProof,
        };
        assert_eq!(error.code, expected);
        assert!(matches!(fake.await.unwrap(), Ok(None) | Err(_)), "the client went on talking");
    }
}

#[test]
fn a_proof_is_good_for_one_role_and_one_transcript_only() {
    let transcript = |hello: &'static [u8], challenge: &'static [u8]| Transcript {
        hello: Bytes::from_static(hello),
        challenge: Bytes::from_static(challenge),
    };
    let one = transcript(b"ab", b"c");
    let mac = decode::<Answer>(&one.answer(&SECRET, Role::Client).unwrap()).unwrap().mac;
    assert!(one.verify(&SECRET, Role::Client, &mac).unwrap());
    assert!(!one.verify(&SECRET, Role::Server, &mac).unwrap());
    assert!(!one.verify(&[1; 32], Role::Client, &mac).unwrap());
    assert!(!one.verify(&SECRET, Role::Client, &mac[..16]).unwrap());
    assert!(!one.verify(&SECRET, Role::Client, b"").unwrap());
    // The border between the two messages counts.
    assert!(!transcript(b"a", b"bc").verify(&SECRET, Role::Client, &mac).unwrap());
}

#[test]
fn a_credential_does_not_show_its_key() {
    let shown = format!("{:?} {:?}", node(), user("ann", "k1", ANNS));
    assert!(!shown.contains("42") && !shown.contains("long enough"), "{shown}");
    let _ = Keys;
}
