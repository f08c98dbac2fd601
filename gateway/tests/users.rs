//! Users through their public face: what they may, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use embermesh_crypto::UnixMillis;
use embermesh_dialects::{
    Dialect::{self, Dim, HiveMind},
    ErrorCode,
    port::users::{Credentials, Users as _},
};
use embermesh_gateway::users::{
    UserStore,
    pins::PinKind,
    policy::{Belief, Network, Policies, Policy},
};

const PASSWORD: &str = "password123";

/// A store whose clock stands until it is moved.
struct Store {
    users: UserStore,
    now: Arc<AtomicU64>,
}

impl Store {
    async fn open(folder: &Path, policies: Policies) -> Self {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let clock = now.clone();
        let path = folder.join("users.db");
        let users = UserStore::open(
            &path,
            policies,
            Arc::new(move || UnixMillis(clock.load(Ordering::SeqCst))),
        );
        Self {
            users: users.await.unwrap(),
            now,
        }
    }

    fn pass(&self, millis: u64) {
        self.now.fetch_add(millis, Ordering::SeqCst);
    }

    async fn token(&self, name: &str) -> String {
        let made = self.users.register(HiveMind, name, PASSWORD, None).await;
        made.unwrap();
        let session = self.users.login(HiveMind, name, PASSWORD, None).await;
        session.unwrap().token
    }

    async fn who(&self, dialect: Dialect, credentials: Credentials) -> Result<String, ErrorCode> {
        let who = self.users.authenticate(dialect, credentials).await;
        who.map(|who| who.name).map_err(|failure| failure.code)
    }
}

fn token(token: &str) -> Credentials {
    Credentials {
        token: Some(token.to_owned()),
        ..Credentials::default()
    }
}

fn word(name: &str, from: &str) -> Credentials {
    Credentials {
        claimed: Some(name.to_owned()).filter(|name| !name.is_empty()),
        remote: Some(from.parse().unwrap()),
        ..Credentials::default()
    }
}

fn legacy(networks: &[&str]) -> Policies {
    let networks = networks.iter().map(|text| text.parse::<Network>().unwrap());
    let policy = Policy {
        belief: Belief::Legacy,
        networks: networks.collect(),
    };
    [(HiveMind, policy)].into()
}

#[tokio::test]
async fn a_session_is_its_users_until_it_ends_and_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Policies::new()).await;
    let ada = store.token("ada").await;
    assert_eq!(store.who(HiveMind, token(&ada)).await.unwrap(), "ada");
    // What is claimed beside a good token does not count, and a bad token is not made
    // good by a claim.
    let both = |token: &str| Credentials {
        token: Some(token.to_owned()),
        claimed: Some("grace".to_owned()),
        remote: Some("127.0.0.1".parse().unwrap()),
    };
    assert_eq!(store.who(HiveMind, both(&ada)).await.unwrap(), "ada");
    let refused = Err(ErrorCode::Unauthenticated);
    assert_eq!(store.who(HiveMind, both("nonsense")).await, refused);
    assert_eq!(store.who(HiveMind, token(&ada[1..])).await, refused);
    assert_eq!(store.who(Dim, token(&ada)).await, refused);
    store.users.close().await.unwrap();

    let store = Store::open(folder.path(), Policies::new()).await;
    assert_eq!(store.who(HiveMind, token(&ada)).await.unwrap(), "ada");
    store.pass(24 * 3_600_000 - 1);
    assert_eq!(store.who(HiveMind, token(&ada)).await.unwrap(), "ada");
    store.pass(1);
    assert_eq!(store.who(HiveMind, token(&ada)).await, refused);
}

#[tokio::test]
async fn nothing_of_a_token_or_a_password_is_on_the_disk_or_in_a_debug_text() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Policies::new()).await;
    let ada = store.token("ada").await;
    assert!(!format!("{:?} {:?}", store.users, token(&ada)).contains(&ada));
    store.users.close().await.unwrap();
    let bytes = std::fs::read(folder.path().join("users.db")).unwrap();
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|piece| piece == text.as_bytes())
    };
    assert!(holds("ada"));
    assert!(!holds(&ada));
    assert!(!holds(PASSWORD));
}

#[tokio::test]
async fn names_and_passwords_that_will_not_do_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Store { users, .. } = Store::open(folder.path(), Policies::new()).await;
    let long = "a".repeat(65);
    for name in ["", "a b", "../etc", "a\0", "naïve", &long] {
        let refused = users.register(HiveMind, name, PASSWORD, None).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid, "{name:?}");
    }
    let long = "a".repeat(257);
    for password in ["", "seven77", &long] {
        let refused = users.register(HiveMind, "ada", password, None).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid);
    }
    users
        .register(HiveMind, "ada", PASSWORD, None)
        .await
        .unwrap();
    let again = users
        .register(HiveMind, "ada", "another password", None)
        .await;
    assert_eq!(again.unwrap_err().code, ErrorCode::Exists);
    users.login(HiveMind, "ada", PASSWORD, None).await.unwrap();
    let wrong = users.login(HiveMind, "ada", "another password", None).await;
    assert_eq!(wrong.err().unwrap().code, ErrorCode::Unauthenticated);
    let wrong = users.login(HiveMind, "ada", &long, None).await;
    assert_eq!(wrong.err().unwrap().code, ErrorCode::Unauthenticated);
    let unknown = users.login(HiveMind, "grace", PASSWORD, None).await;
    assert_eq!(unknown.err().unwrap().code, ErrorCode::NotFound);
    // The same name of another system is somebody else.
    let other = users.login(Dim, "ada", PASSWORD, None).await;
    assert_eq!(other.err().unwrap().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn guessing_ends_and_may_begin_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Policies::new()).await;
    store.token("ada").await;
    let from: Option<IpAddr> = Some("192.0.2.1".parse().unwrap());
    for _ in 0..10 {
        let wrong = store.users.login(HiveMind, "ada", "guessed it", from).await;
        assert_eq!(wrong.err().unwrap().code, ErrorCode::Unauthenticated);
    }
    let right = store.users.login(HiveMind, "ada", PASSWORD, None).await;
    assert_eq!(right.err().unwrap().code, ErrorCode::Exhausted);
    store.pass(600_000);
    let right = store.users.login(HiveMind, "ada", PASSWORD, from).await;
    right.unwrap();
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Policies::new()).await;
    let first = store.token("ada").await;
    let mut last = String::new();
    for _ in 0..32 {
        store.pass(60_000);
        let session = store.users.login(HiveMind, "ada", PASSWORD, None).await;
        last = session.unwrap().token;
    }
    assert_eq!(store.who(HiveMind, token(&last)).await.unwrap(), "ada");
    let refused = Err(ErrorCode::Unauthenticated);
    assert_eq!(store.who(HiveMind, token(&first)).await, refused);
}

#[tokio::test]
async fn a_word_without_proof_counts_only_where_the_policy_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Err(ErrorCode::Unauthenticated);
    let store = Store::open(folder.path(), Policies::new()).await;
    assert_eq!(store.who(HiveMind, word("ada", "127.0.0.1")).await, refused);
    store.users.close().await.unwrap();

    let store = Store::open(folder.path(), legacy(&[])).await;
    assert_eq!(store.who(HiveMind, word("", "127.0.0.1")).await, refused);
    let ada = store.who(HiveMind, word("ada", "127.0.0.1")).await;
    assert_eq!(ada.unwrap(), "ada");
    let unnamed = store.who(HiveMind, word("", "127.0.0.1")).await;
    assert_eq!(unnamed.unwrap(), "ada");
    assert_eq!(store.who(HiveMind, word("bob", "192.0.2.1")).await, refused);
    assert_eq!(store.who(Dim, word("ada", "127.0.0.1")).await, refused);
    let nowhere = Credentials {
        claimed: Some("bob".to_owned()),
        ..Credentials::default()
    };
    assert_eq!(store.who(HiveMind, nowhere).await, refused);
    // With a second name, a call without one could be by either.
    let bob = store.who(HiveMind, word("bob", "127.0.0.1")).await;
    assert_eq!(bob.unwrap(), "bob");
    assert_eq!(store.who(HiveMind, word("", "127.0.0.1")).await, refused);
    // A name with a password needs its token.
    store.token("grace").await;
    assert_eq!(
        store.who(HiveMind, word("grace", "127.0.0.1")).await,
        refused
    );
    // And a name in use is not taken over by a password from elsewhere.
    let elsewhere = Some("192.0.2.9".parse().unwrap());
    let taken = store
        .users
        .register(HiveMind, "ada", PASSWORD, elsewhere)
        .await;
    assert_eq!(taken.unwrap_err().code, ErrorCode::Exists);
}

#[tokio::test]
async fn the_networks_of_a_policy_are_the_only_ones() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), legacy(&["10.0.0.0/8", "2001:db8::/32"])).await;
    let refused = Err(ErrorCode::Unauthenticated);
    assert_eq!(
        store.who(HiveMind, word("a", "10.255.0.1")).await.unwrap(),
        "a"
    );
    assert_eq!(
        store
            .who(HiveMind, word("b", "::ffff:10.1.1.1"))
            .await
            .unwrap(),
        "b"
    );
    assert_eq!(
        store
            .who(HiveMind, word("c", "2001:db8:1::1"))
            .await
            .unwrap(),
        "c"
    );
    assert_eq!(store.who(HiveMind, word("d", "11.0.0.1")).await, refused);
    assert_eq!(store.who(HiveMind, word("d", "127.0.0.1")).await, refused);
    // The first address that used a name has it.
    let other = store.who(HiveMind, word("a", "10.0.0.2")).await;
    assert_eq!(other, Err(ErrorCode::Denied));
    for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/"] {
        assert!(text.parse::<Network>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn an_id_belongs_to_whoever_used_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let Store { users, .. } = Store::open(folder.path(), Policies::new()).await;
    let pin = |kind, id: &'static str, holder: String| {
        let users = &users;
        async move {
            let pinned = users.pin(kind, HiveMind, id, &holder).await;
            pinned.map_err(|failure| failure.code)
        }
    };
    let key = |text: &str| text.to_owned();
    assert_eq!(
        pin(PinKind::Worker, "worker-001", key("first")).await,
        Ok(())
    );
    assert_eq!(
        pin(PinKind::Worker, "worker-001", key("first")).await,
        Ok(())
    );
    let other = pin(PinKind::Worker, "worker-001", key("second")).await;
    assert_eq!(other, Err(ErrorCode::Denied));
    assert_eq!(
        pin(PinKind::User, "worker-001", key("second")).await,
        Ok(())
    );
    let path = pin(PinKind::Worker, "../worker", key("first")).await;
    assert_eq!(path, Err(ErrorCode::Invalid));
    let nobody = pin(PinKind::Worker, "worker-002", String::new()).await;
    assert_eq!(nobody, Err(ErrorCode::Invalid));
    for number in 1..256 {
        let id = format!("w{number}");
        let pinned = users.pin(PinKind::Worker, HiveMind, &id, "first").await;
        pinned.unwrap();
    }
    let more = pin(PinKind::Worker, "one-more", key("first")).await;
    assert_eq!(more, Err(ErrorCode::Exhausted));
}

#[tokio::test]
async fn whoever_is_admitted_is_known_by_a_token_alone() {
    let folder = tempfile::tempdir().unwrap();
    let legacy = Policies::from([(
        Dialect::CyxWiz,
        Policy {
            belief: Belief::Legacy,
            networks: Vec::new(),
        },
    )]);
    let store = Store::open(folder.path(), legacy).await;
    let users = &store.users;
    let session = users.admit(Dialect::CyxWiz, "alice").await.unwrap();
    let said = |token: Option<&str>, name: &str| Credentials {
        token: token.map(str::to_owned),
        claimed: Some(name.to_owned()),
        remote: Some([127, 0, 0, 1].into()),
    };
    let by_token = |token| store.who(Dialect::CyxWiz, said(token, ""));
    assert_eq!(by_token(Some(&session.token)).await, Ok("alice".to_owned()));
    // The name alone is not believed any more, whatever the policy; nor is a password.
    let claimed = store.who(Dialect::CyxWiz, said(None, "alice")).await;
    assert_eq!(claimed, Err(ErrorCode::Unauthenticated));
    let guessed = users.login(Dialect::CyxWiz, "alice", PASSWORD, None).await;
    assert_eq!(
        guessed.err().map(|failure| failure.code),
        Some(ErrorCode::Unauthenticated)
    );
    // The token is of this system, and for a day.
    let elsewhere = store.who(HiveMind, said(Some(&session.token), "")).await;
    assert_eq!(elsewhere, Err(ErrorCode::Unauthenticated));
    let more = users.admit(Dialect::CyxWiz, "alice").await.unwrap();
    assert_ne!(more.token, session.token);
    store.pass(24 * 3_600 * 1_000);
    assert_eq!(
        by_token(Some(&session.token)).await,
        Err(ErrorCode::Unauthenticated)
    );
    // A name that somebody uses without a token is not taken from him.
    let used = store.who(Dialect::CyxWiz, said(None, "bob")).await;
    assert_eq!(used, Ok("bob".to_owned()));
    let taken = users.admit(Dialect::CyxWiz, "bob").await.err().unwrap();
    assert_eq!(taken.code, ErrorCode::Exists);
    let unfit = users.admit(Dialect::CyxWiz, "../bob").await.err().unwrap();
    assert_eq!(unfit.code, ErrorCode::Invalid);
}

#[tokio::test]
async fn a_pass_is_good_beside_a_gateway_and_names_one_account() {
    let folder = tempfile::tempdir().unwrap();
    let pass = async |dialect, name| {
        let pass = embermesh_gateway::Pass::make(folder.path(), dialect, name);
        pass.await.unwrap()
    };
    let first = pass(Dialect::CyxWiz, "alice").await;
    // The database is open meanwhile, as it is where an index runs.
    let path = folder.path().join("users.sqlite");
    let clock = Arc::new(UnixMillis::now);
    let open = UserStore::open(&path, Policies::new(), clock)
        .await
        .unwrap();
    let second = pass(Dialect::CyxWiz, "alice").await;
    assert_eq!(second.account, first.account);
    assert_ne!(pass(Dialect::CyxWiz, "bob").await.account, first.account);
    assert_ne!(pass(Dim, "alice").await.account, first.account);
    for token in [first.token, second.token] {
        let said = Credentials {
            token: Some(token),
            ..Credentials::default()
        };
        let who = open.authenticate(Dialect::CyxWiz, said).await.unwrap();
        assert_eq!(who.name, "alice");
    }
}
