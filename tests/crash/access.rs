//! Power fails while administrators sign in, make and revoke tokens, change the password and are entered
//! in the audit log. What was answered must be so afterwards, and what was ended must stay ended.

use conduit::domain::access::{AccessHash, Role, SessionId, SessionRecord, TokenId, TokenRecord};
use conduit::domain::audit::{Actor, AuditId, AuditRecord, Outcome};
use conduit::domain::window::Timestamp;
use conduit::store::{Answered, AuditFilter};

use crate::chance::Chance;
use crate::machine::{Crash, Image, Machine, Op};

const ROUNDS: u64 = 12;

/// What was answered.
#[derive(Clone, Debug)]
enum Note {
    Password(u64),
    Token(u64),
    /// Written before the token is revoked, and after.
    Revoking(u64),
    Revoked(u64),
    Session(u64),
    Audit(u64),
    Repeat(u64),
}

fn hash(number: u64) -> AccessHash {
    AccessHash::of_request("test", &number.to_string())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_000_000)
}

fn token(number: u64) -> TokenRecord {
    TokenRecord {
        id: TokenId::from_bits(number),
        name: format!("token {number}"),
        role: Role::Admin,
        tail: "wxyz".to_owned(),
        created: now(),
        expires: None,
        last_used: None,
    }
}

fn session(number: u64) -> SessionRecord {
    SessionRecord {
        id: SessionId::from_bits(number),
        created: now(),
        last_seen: now(),
        user_agent: String::new(),
        address: String::new(),
    }
}

fn entry(number: u64, outcome: Outcome) -> AuditRecord {
    AuditRecord {
        id: AuditId::from_bits(number.into()),
        by: Actor::at_the_command_line(),
        verb: "keys/create".to_owned(),
        target: None,
        parameters: "{}".to_owned(),
        outcome,
        reason: None,
    }
}

fn work(machine: &std::sync::Arc<Machine<Note>>) {
    let (store, _) = machine.open().unwrap();
    for number in 0..ROUNDS {
        store.add_audit(&entry(number, Outcome::Begun)).unwrap();
        machine.note(Note::Audit(number));
        let password = number.to_le_bytes();
        store.set_admin_password(&password, None).unwrap();
        machine.note(Note::Password(number));
        store.insert_session(hash(number), &session(number), &password).unwrap();
        machine.note(Note::Session(number));
        assert!(store.insert_session(hash(number), &session(number), b"another").is_err());
        store.insert_token(hash(number), &token(number)).unwrap();
        machine.note(Note::Token(number));
        if number % 2 == 1 {
            machine.note(Note::Revoking(number));
            store.revoke_token(&format!("token {number}")).unwrap();
            machine.note(Note::Revoked(number));
        }
        assert!(store.begin_request(hash(number), [1; 32], now()).unwrap().is_none());
        let answer = Answered { made: "key".to_owned(), body: None };
        store.end_request(hash(number), [1; 32], now(), Some(answer)).unwrap();
        machine.note(Note::Repeat(number));
        store.add_audit(&entry(number, Outcome::Done)).unwrap();
    }
    store.close();
}

/// Holds what is found after a crash against what was answered before it.
fn check(image: &Image, notes: &[Note]) {
    let machine = Machine::<()>::new(image.clone());
    let (store, _) = machine.open().unwrap();
    let has_token = |number| store.use_token(hash(number), now()).unwrap().is_some();
    let mut password = None;
    for note in notes {
        match note {
            Note::Password(number) => password = Some(*number),
            Note::Revoked(number) => assert!(!has_token(*number), "{number} is good again"),
            Note::Token(number) => {
                let ended = notes.iter().any(|n| matches!(n, Note::Revoking(r) if r == number));
                assert!(ended || has_token(*number), "{number} is lost");
            }
            Note::Audit(number) => {
                let filter = AuditFilter::default();
                let found = store.latest_audit(&filter, 1_000).unwrap();
                let id = AuditId::from_bits((*number).into());
                assert_eq!(found.iter().filter(|entry| entry.id == id).count(), 1);
            }
            Note::Repeat(number) => {
                let before = store.begin_request(hash(*number), [1; 32], now()).unwrap();
                assert!(before.is_some_and(|before| before.answer.is_some()), "{number}");
            }
            Note::Revoking(_) | Note::Session(_) => {}
        }
    }
    let kept = store.admin_password().unwrap();
    let kept = kept.map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    assert!(kept == password || kept == Some(password.map_or(0, |number| number + 1)));
    // Each password ends the sessions of the one before: of those answered only the last may be open.
    for session in store.sessions(now()).unwrap() {
        assert_eq!(Some(session.id.bits()), kept, "a session outlived its password");
    }
    if let Some(Note::Session(number)) = notes.last() {
        assert!(kept != Some(*number) || !store.sessions(now()).unwrap().is_empty());
    }
    store.close();
}

#[test]
fn what_administrators_were_answered_outlives_the_power() {
    let mut chance = Chance::of_the_day("access");
    let machine = Machine::<()>::new(Image::default());
    machine.open().unwrap().0.close();
    let machine = Machine::new(machine.synced_image());
    work(&machine);
    let log = machine.log();
    for done in 0..=log.len() {
        if !chance.one_in(3) {
            continue;
        }
        let notes: Vec<_> = log[..done]
            .iter()
            .filter_map(|op| if let Op::Note(note) = op { Some(note.clone()) } else { None })
            .collect();
        let crash = if chance.one_in(4) { Crash::Process } else { Crash::Power };
        check(&machine.image(done, crash, &mut chance), &notes);
    }
}
