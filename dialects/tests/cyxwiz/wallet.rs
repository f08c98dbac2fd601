//! Wallets: all six calls, in units that are exact.

use embermesh_dialects::{Profile, port::accounts::Balance};
use embermesh_proto::cyxwiz::{
    protocol::{
        ConnectWalletRequest, CreateEscrowRequest, EstimateJobCostRequest, GetBalanceRequest,
        GetTransactionHistoryRequest, ReleaseEscrowRequest,
        wallet_service_client::WalletServiceClient,
    },
    shipped,
};
use tonic::{Code, transport::Channel};

use crate::{
    configs::FORMS,
    port::{Memory, by, serve},
};

type Wallet = WalletServiceClient<Channel>;

fn rich(memory: &Memory) {
    let funds = Balance {
        available: 12_345_678,
        held: 0,
    };
    memory.kept().funds.insert("alice".to_owned(), funds);
}

fn escrow(amount: f64) -> CreateEscrowRequest {
    CreateEscrowRequest {
        job_id: "flowers".to_owned(),
        payer_address: "alice".to_owned(),
        amount,
        expiration_time: 4_000_000_000,
    }
}

async fn balance(client: &mut Wallet, name: &str) -> f64 {
    let request = GetBalanceRequest {
        wallet_address: name.to_owned(),
    };
    let answer = client.get_balance(by(name, request)).await.unwrap();
    answer.into_inner().cyxwiz_balance
}

#[tokio::test]
async fn an_escrow_is_made_once_and_released_once() {
    let (memory, channel) = serve(Profile::Documented).await;
    rich(&memory);
    let mut client = Wallet::new(channel);
    let first = client
        .create_escrow(by("alice", escrow(2.5)))
        .await
        .unwrap();
    let first = first.into_inner();
    assert!(!first.escrow_id.is_empty());
    assert_eq!(first.tx_signature, first.escrow_id);
    let again = client
        .create_escrow(by("alice", escrow(2.5)))
        .await
        .unwrap();
    assert_eq!(again.into_inner(), first);
    assert!((balance(&mut client, "alice").await - 9.845_678).abs() < f64::EPSILON);
    // Another amount is another escrow.
    let other = client
        .create_escrow(by("alice", escrow(0.1)))
        .await
        .unwrap();
    assert_ne!(other.into_inner().escrow_id, first.escrow_id);
    let release = ReleaseEscrowRequest {
        escrow_id: first.escrow_id,
        recipient_address: "bob".to_owned(),
    };
    let theirs = client.release_escrow(by("bob", release.clone())).await;
    assert_eq!(theirs.unwrap_err().code(), Code::NotFound);
    let released = client.release_escrow(by("alice", release.clone())).await;
    let released = released.unwrap().into_inner();
    let again = client.release_escrow(by("alice", release)).await.unwrap();
    assert_eq!(again.into_inner(), released);
    assert!((balance(&mut client, "bob").await - 2.5).abs() < f64::EPSILON);
    // What moved is in the history, the newest first, by pages.
    let page = |limit, offset| GetTransactionHistoryRequest {
        wallet_address: String::new(),
        limit,
        offset,
    };
    let all = client
        .get_transaction_history(by("alice", page(0, 0)))
        .await;
    let all = all.unwrap().into_inner();
    assert_eq!((all.status, all.total_count), (1, 3));
    let said: Vec<(i32, f64)> = all
        .transactions
        .iter()
        .map(|one| (one.r#type, one.amount))
        .collect();
    assert_eq!(said, [(1, 0.0), (1, -0.1), (1, -2.5)]);
    assert!(
        all.transactions
            .iter()
            .all(|one| one.status == 1 && one.timestamp == 7)
    );
    assert_eq!(all.transactions[2].description, "hold flowers");
    let second = client
        .get_transaction_history(by("alice", page(1, 1)))
        .await;
    let second = second.unwrap().into_inner();
    assert_eq!(second.transactions, all.transactions[1..2]);
    assert_eq!(second.total_count, 3);
}

#[tokio::test]
async fn a_wallet_is_the_callers_alone() {
    let (memory, channel) = serve(Profile::Documented).await;
    rich(&memory);
    let mut client = Wallet::new(channel);
    let theirs = GetBalanceRequest {
        wallet_address: "alice".to_owned(),
    };
    let refused = client.get_balance(by("bob", theirs.clone())).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let nobody = client.get_balance(theirs).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let refused = client.create_escrow(by("bob", escrow(1.0))).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let history = GetTransactionHistoryRequest {
        wallet_address: "alice".to_owned(),
        ..GetTransactionHistoryRequest::default()
    };
    let refused = client.get_transaction_history(by("bob", history)).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let connect = |address: &str| ConnectWalletRequest {
        wallet_address: address.to_owned(),
    };
    for (address, is_valid, status) in [("", true, 1), ("alice", true, 1), ("bob", false, 5)] {
        let answer = client.connect_wallet(by("alice", connect(address))).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!((answer.is_valid, answer.status), (is_valid, status));
        assert_eq!(answer.wallet_address, "alice");
        assert_eq!(answer.message.is_empty(), is_valid);
    }
}

#[tokio::test]
async fn what_is_no_escrow_is_refused_by_its_field() {
    let (memory, channel) = serve(Profile::Documented).await;
    rich(&memory);
    let mut client = Wallet::new(channel);
    let cases: [(&str, CreateEscrowRequest); 6] = [
        ("amount", escrow(0.0)),
        ("amount", escrow(-1.0)),
        ("amount", escrow(f64::INFINITY)),
        ("amount", escrow(0.000_000_1)),
        (
            "job_id",
            CreateEscrowRequest {
                job_id: String::new(),
                ..escrow(1.0)
            },
        ),
        (
            "expiration_time",
            CreateEscrowRequest {
                expiration_time: 0,
                ..escrow(1.0)
            },
        ),
    ];
    for (field, request) in cases {
        let refused = client
            .create_escrow(by("alice", request))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
    let poor = client.create_escrow(by("alice", escrow(12.345_679))).await;
    assert_eq!(poor.unwrap_err().code(), Code::FailedPrecondition);
    assert!(memory.kept().holds.is_empty());
    let negative = GetTransactionHistoryRequest {
        offset: -1,
        ..GetTransactionHistoryRequest::default()
    };
    let refused = client.get_transaction_history(by("alice", negative)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_quote_is_of_the_model_that_it_names() {
    let (_, channel) = serve(Profile::Documented).await;
    let mut client = Wallet::new(channel);
    let of = |model: &str, epochs, samples| EstimateJobCostRequest {
        model_type: model.to_owned(),
        epochs,
        dataset_size: samples,
        node_tier: String::new(),
    };
    let answer = client
        .estimate_job_cost(by("alice", of(FORMS[3], 3, 150)))
        .await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.status, 1, "{}", answer.message);
    assert!((answer.estimated_cost - answer.estimated_time_minutes / 60.0).abs() < 1e-6);
    for (field, request) in [
        ("model_type", of("GPT-3", 3, 150)),
        ("epochs", of(FORMS[3], 0, 150)),
        ("dataset_size", of(FORMS[3], 3, -1)),
    ] {
        let answer = client.estimate_job_cost(by("alice", request)).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.status, 5);
        assert!(answer.message.starts_with(field), "{}", answer.message);
    }
}

#[tokio::test]
async fn the_form_that_shipped_has_four_calls_and_a_status_in_each() {
    let (memory, channel) = serve(Profile::Shipped).await;
    rich(&memory);
    let mut client = shipped::wallet_service_client::WalletServiceClient::new(channel.clone());
    let request = shipped::GetBalanceRequest::default();
    let answer = client.get_balance(by("alice", request)).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.status, 1);
    assert!((answer.cyxwiz_balance - 12.345_678).abs() < f64::EPSILON);
    let request = shipped::ConnectWalletRequest::default();
    let answer = client.connect_wallet(by("alice", request)).await.unwrap();
    assert!(answer.into_inner().is_valid);
    let request = shipped::GetTransactionHistoryRequest::default();
    let answer = client.get_transaction_history(by("alice", request)).await;
    assert_eq!(answer.unwrap().into_inner().status, 1);
    let request = shipped::EstimateJobCostRequest {
        model_type: "GPT-3".to_owned(),
        ..shipped::EstimateJobCostRequest::default()
    };
    let answer = client
        .estimate_job_cost(by("alice", request))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status, 6);
    let absent = Wallet::new(channel)
        .create_escrow(by("alice", escrow(1.0)))
        .await;
    assert_eq!(absent.unwrap_err().code(), Code::Unimplemented);
}
