use super::*;

const LIMITS: SessionLimits = SessionLimits {
    body_bytes_max: 10,
    sends: Limit::twice_at_once(2),
    joins: Limit { per_second: 2, burst: 4 },
};

fn session() -> Session {
    let user = UserId::new(7).unwrap();
    let identity =
        Identity { user, name: "ada".into(), grant: Grant::Any, expires_at_ms: None, login_session: None };
    Session::new(identity)
}

fn room(n: u64) -> RoomId {
    RoomId::new(n).unwrap()
}

fn is_joined(asked: RoomId) -> bool {
    asked == room(1)
}

fn refusal(step: Step) -> Refusal {
    let Step::Refuse(refusal) = step else { panic!("{step:?}") };
    refusal
}

#[test]
fn a_send_becomes_a_record() {
    let step = session().handle(
        99,
        r#"{"op":"send","ref":1,"room":"1","body":"hi","nonce":"n"}"#,
        0,
        &LIMITS,
        is_joined,
    );
    let record = Record::Message {
        room: room(1),
        from: UserId::new(7).unwrap(),
        name: "ada".into(),
        kind: hubbub_common::protocol::MessageKind::Text,
        body: "hi".into(),
        nonce: Some("n".into()),
        reply_to: None,
    };
    let Step::Publish { record: encoded, nonce, .. } = step else { panic!("{step:?}") };
    assert_eq!((encoded, nonce.as_deref()), (record.encode(), Some("n")));
}

#[test]
fn each_rule_has_its_error() {
    let mut session = session();
    let mut check = |text: &str, code: ErrorCode| {
        assert_eq!(refusal(session.handle(99, text, 0, &LIMITS, is_joined)).code, code, "{text}");
    };
    check(r#"{"op":"send","room":"2","body":"hi"}"#, ErrorCode::NotJoined);
    check(r#"{"op":"typing","room":"2"}"#, ErrorCode::NotJoined);
    check(r#"{"op":"read","room":"2","id":"1"}"#, ErrorCode::NotJoined);
    check(r#"{"op":"presence","room":"2"}"#, ErrorCode::NotJoined);
    check(r#"{"op":"send","room":"1","body":"longer than ten"}"#, ErrorCode::TooLarge);
    session.set_muted(room(1), true);
    let send = r#"{"op":"send","room":"1","body":"hi"}"#;
    assert_eq!(refusal(session.handle(99, send, 0, &LIMITS, is_joined)).code, ErrorCode::Forbidden);
    let typing = r#"{"op":"typing","room":"1"}"#;
    assert_eq!(session.handle(99, typing, 0, &LIMITS, is_joined), Step::Ignore);
    session.set_muted(room(1), false);
    for _ in 0..4 {
        assert!(matches!(session.handle(99, send, 0, &LIMITS, is_joined), Step::Publish { .. }));
    }
    let refused = refusal(session.handle(99, send, 0, &LIMITS, is_joined));
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(500)));
}

#[test]
fn rooms_joined_are_rationed() {
    let mut session = session();
    let mut ask = |text: &str, ms: u64| session.handle(99, text, ms, &LIMITS, is_joined);
    let three = r#"{"op":"join","ref":"r","rooms":[{"room":"1"},{"room":"2","since":"9"},{"room":"3"}]}"#;
    assert!(matches!(ask(three, 0), Step::Join { .. }));
    let refused = refusal(ask(three, 0));
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(1_000)));
    assert_eq!(refused.reference.unwrap().as_json(), "\"r\"");
    // A room named twice counts once, leaving costs nothing.
    assert!(matches!(ask(r#"{"op":"leave","rooms":["1"]}"#, 0), Step::Leave { .. }));
    assert!(matches!(ask(r#"{"op":"join","rooms":[{"room":"1"},{"room":"1"}]}"#, 0), Step::Join { .. }));
    assert!(matches!(ask(three, 1_500), Step::Join { .. }));
}

#[test]
fn ten_bad_requests_in_ten_seconds_close() {
    let mut session = session();
    for n in 0..9 {
        assert_eq!(refusal(session.handle(99, "no", n, &LIMITS, is_joined)).code, ErrorCode::BadJson);
    }
    // They are forgotten one by one, ten seconds after they came; refusals of another kind do not count.
    for n in 0..9 {
        refusal(session.handle(99, "{}", 10_001 + n, &LIMITS, is_joined));
        refusal(session.handle(99, r#"{"op":"typing","room":"2"}"#, 10_001 + n, &LIMITS, is_joined));
    }
    let last = session.handle(99, r#"{"op":"x"}"#, 20_001, &LIMITS, is_joined);
    assert!(matches!(last, Step::RefuseAndClose(_, CloseCode::Policy)), "{last:?}");
}

#[test]
fn typing_is_rationed_in_silence() {
    let mut session = session();
    let mut say = || session.handle(99, r#"{"op":"typing","room":"1"}"#, 0, &LIMITS, is_joined);
    let said = (0..100).filter(|_| matches!(say(), Step::Say { .. })).count();
    assert_eq!(said, 20);
    assert_eq!(say(), Step::Ignore);
}

#[test]
fn questions_who_is_present_have_a_rate() {
    let mut session = session();
    let mut ask = || session.handle(99, r#"{"op":"presence","room":"1"}"#, 0, &LIMITS, is_joined);
    assert!((0..20).all(|_| matches!(ask(), Step::Presence { .. })));
    let refused = refusal(ask());
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(100)));
}

#[test]
fn a_room_named_twice_is_joined_once() {
    let text = r#"{"op":"join","rooms":[{"room":"1","since":"5"},{"room":"2"},{"room":"1"}]}"#;
    let Step::Join { rooms, .. } = session().handle(99, text, 0, &LIMITS, is_joined) else { panic!() };
    let rooms: Vec<_> = rooms.iter().map(|join| (join.room, join.since.is_some())).collect();
    assert_eq!(rooms, [(room(1), true), (room(2), false)]);
}

#[test]
fn names_are_cut_at_a_character() {
    let user = UserId::new(7).unwrap();
    assert_eq!(&*name_to_show(None, user), "7");
    assert_eq!(&*name_to_show(Some("  ".into()), user), "7");
    assert_eq!(name_to_show(Some("é".repeat(100)), user).len(), 128);
}

/// A byte here is a megabyte for every million clients.
#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 56, "{}", size_of::<Session>());
}
