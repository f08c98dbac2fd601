//! Every event reads back from its JSON, whatever a device has measured.

use proptest::prelude::*;

use super::*;

fn progress(loss: f64, accuracy: Option<f64>, samples_per_second: f64) -> Event {
    Event {
        seq: 2,
        epoch: Epoch(1),
        at: UnixMillis(3),
        kind: EventKind::Progress(Progress {
            step: 1,
            total_steps: 2,
            pass: 1,
            total_passes: 1,
            loss,
            accuracy,
            samples_per_second,
            remaining_ms: 5,
        }),
    }
}

#[test]
fn a_measure_that_is_no_number_is_a_text() {
    let text = serde_json::to_string(&progress(f64::NAN, Some(f64::INFINITY), 1.5)).unwrap();
    assert!(
        text.contains(r#""loss":"NaN","accuracy":"inf","samples_per_second":1.5"#),
        "{text}"
    );
    let none = serde_json::to_string(&progress(0.5, None, 1.0)).unwrap();
    assert!(none.contains(r#""loss":0.5,"accuracy":null"#), "{none}");
    for bad in [r#""loss":"nine""#, r#""loss":null"#, r#""loss":true"#] {
        let broken = none.replace(r#""loss":0.5"#, bad);
        assert!(serde_json::from_str::<Event>(&broken).is_err(), "{bad}");
    }
}

#[test]
fn a_receipt_is_hex() {
    let text = |receipt: &str| {
        format!(r#"{{"finished":{{"outcome":"failed","receipt":"{receipt}","message":""}}}}"#)
    };
    let read = |receipt: &str| serde_json::from_str::<EventKind>(&text(receipt));
    assert!(matches!(
        read("00ff").unwrap(),
        EventKind::Finished { receipt, .. } if receipt == [0, 255]
    ));
    for bad in ["0", "+1", "zz", "é"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_event_reads_back(
        loss in any::<f64>(),
        accuracy in prop::option::of(any::<f64>()),
        speed in any::<f64>(),
    ) {
        let event = progress(loss, accuracy, speed);
        let text = serde_json::to_string(&event).unwrap();
        let back: Event = serde_json::from_str(&text).unwrap();
        // Not-a-number is unequal to itself, so their texts are compared.
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
        let EventKind::Progress(back) = back.kind else { unreachable!() };
        prop_assert_eq!(back.loss.is_nan(), loss.is_nan());
        prop_assert!(loss.is_nan() || back.loss.to_bits() == loss.to_bits());
    }
}
