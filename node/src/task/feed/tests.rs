use super::*;

/// Four samples of two bytes each, two of them held out.
fn table(data: Duration) -> Table {
    let text = format!(
        r#"{{"digest":"{}","samples":2,"holdout":2,"shape":[2],"element":{{"byte":{{"white":1}}}}}}"#,
        "0".repeat(64)
    );
    let waits = Waits {
        patience: Duration::from_millis(50),
        silence: Duration::from_millis(200),
        data,
    };
    Table::new(&serde_json::from_str(&text).unwrap(), waits)
}

async fn part(table: &mut Table) -> Part {
    match table.next().await {
        Served::Part(part) => part,
        Served::Wait(wait) => panic!("{wait:?} came before the part"),
    }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn questions_go_out_and_answers_come_in_their_order() {
    let mut table = table(LONG);
    let exchange = table.exchange();
    exchange.want(1, vec![3, 0]).unwrap();
    exchange.want(2, vec![1]).unwrap();
    let mut feeder = exchange.feeder();
    assert_eq!(feeder.want().await.unwrap().samples, [3, 0]);
    assert_eq!(feeder.want().await.unwrap().ask, 2);
    feeder.give(1, vec![1]).await.unwrap();
    feeder.give(1, vec![2, 3, 4]).await.unwrap();
    let (first, second) = (part(&mut table).await, part(&mut table).await);
    assert_eq!((first.ask, first.offset, first.bytes), (1, 0, vec![1]));
    assert_eq!((second.ask, second.offset), (1, 1));
    feeder.give(2, vec![5, 6]).await.unwrap();
    assert_eq!(part(&mut table).await.ask, 2);
    assert_eq!(*table.hungry.borrow(), None);
    drop(table);
    assert_eq!(feeder.want().await, Err(NotFed::Ended));
}

#[tokio::test]
async fn a_newer_feeder_begins_an_answer_anew() {
    let mut table = table(LONG);
    let exchange = table.exchange();
    exchange.want(1, vec![0, 1]).unwrap();
    let mut old = exchange.feeder();
    old.want().await.unwrap();
    old.give(1, vec![9, 9, 9]).await.unwrap();
    let mut new = exchange.feeder();
    assert_eq!(old.give(1, vec![9]).await, Err(NotFed::Replaced));
    assert_eq!(old.want().await, Err(NotFed::Replaced));
    assert_eq!(new.want().await.unwrap().ask, 1);
    new.give(1, vec![1, 2, 3, 4]).await.unwrap();
    assert_eq!(part(&mut table).await.bytes, [9, 9, 9]);
    let part = part(&mut table).await;
    assert_eq!((part.offset, part.bytes), (0, vec![1, 2, 3, 4]));
}

#[tokio::test]
async fn what_is_not_the_answer_is_refused_and_passed_to_nobody() {
    let mut table = table(LONG);
    let exchange = table.exchange();
    let mut feeder = exchange.feeder();
    assert_eq!(feeder.give(1, vec![0]).await, Err(NotFed::Unasked));
    exchange.want(1, vec![0]).unwrap();
    // Not told yet.
    assert!(matches!(
        feeder.give(1, vec![0]).await,
        Err(NotFed::OutOfTurn { .. })
    ));
    feeder.want().await.unwrap();
    assert_eq!(feeder.give(1, Vec::new()).await, Err(NotFed::Part(0)));
    let long = vec![0; MAX_PART + 1];
    assert!(matches!(feeder.give(1, long).await, Err(NotFed::Part(_))));
    assert!(matches!(
        feeder.give(2, vec![0]).await,
        Err(NotFed::OutOfTurn {
            ask: 2,
            expected: 1
        })
    ));
    assert!(matches!(
        feeder.give(1, vec![0; 3]).await,
        Err(NotFed::TooMuch {
            ask: 1,
            expected: 2
        })
    ));
    assert!(table.parts.try_recv().is_err());
}

#[tokio::test]
async fn a_worker_asks_within_its_bounds() {
    let exchange = table(LONG).exchange();
    assert!(matches!(exchange.want(1, vec![]), Err(BadWant::NoSample)));
    assert!(matches!(exchange.want(1, vec![4]), Err(BadWant::NoSample)));
    assert!(matches!(
        exchange.want(2, vec![0]),
        Err(BadWant::OutOfTurn(2))
    ));
    for ask in 1..=MAX_ASKS as u64 {
        exchange.want(ask, vec![0]).unwrap();
    }
    let next = MAX_ASKS as u64 + 1;
    assert!(matches!(
        exchange.want(next, vec![0]),
        Err(BadWant::TooMany)
    ));
}

#[tokio::test]
async fn a_wait_is_told_of_ends_and_is_over_after_its_bound() {
    let bound = Duration::from_millis(300);
    let mut table = table(bound);
    let exchange = table.exchange();
    let began = Instant::now();
    exchange.want(1, vec![0]).unwrap();
    assert_eq!(table.next().await, Served::Wait(Wait::Begins));
    assert!(began.elapsed() >= table.exchange.waits.patience);
    let mut feeder = exchange.feeder();
    feeder.want().await.unwrap();
    feeder.give(1, vec![0, 0]).await.unwrap();
    part(&mut table).await;
    assert_eq!(table.next().await, Served::Wait(Wait::Ends));
    exchange.want(2, vec![0]).unwrap();
    let began = Instant::now();
    assert_eq!(table.next().await, Served::Wait(Wait::Begins));
    assert_eq!(table.next().await, Served::Wait(Wait::Over));
    assert!(began.elapsed() >= bound);
}

#[tokio::test]
async fn a_feeder_that_owes_and_is_silent_is_sent_away() {
    let exchange_of = table(LONG);
    let exchange = exchange_of.exchange();
    let mut feeder = exchange.feeder();
    // It owes nothing before it was asked.
    let idle = tokio::time::timeout(Duration::from_millis(500), feeder.want()).await;
    assert!(idle.is_err());
    exchange.want(1, vec![0]).unwrap();
    feeder.want().await.unwrap();
    assert_eq!(feeder.want().await, Err(NotFed::Silent));
}
