//! One contract for the simulator's model of a stream and the real nats-server: every script runs on both, and after
//! each step both must show the same. Where they differ the model is wrong.

use std::time::Duration;

use harmonylite::nats::publish_group;
use harmonylite_sim::stream::DUPLICATE_WINDOW_MS;
use harmonylite_sim::stream::Refusal::{Duplicate, OtherLast};
use harmonylite_testkit::Rng;
use tokio::time::{Instant, sleep};

use crate::both::{Both, NOW_MS, Reader, outcome};
use crate::support::{DEADLINE, STREAM, SUBJECT};

#[tokio::test]
async fn the_model_refuses_what_the_server_refuses() {
    let mut both = Both::new().await;
    assert_eq!(both.publish(["a"], 5).await, Err(OtherLast));
    assert_eq!(both.publish(["a", "b"], 5).await, Err(OtherLast));
    assert_eq!(both.publish(["a"], 0).await, Ok(1), "a refused id is not remembered");
    assert_eq!(both.publish(["b", "c", "d"], 0).await, Err(OtherLast));
    assert_eq!(both.publish(["b", "c", "d"], 1).await, Ok(4));
    assert_eq!(both.publish(["b"], 4).await, Err(Duplicate));
    assert_eq!(both.publish(["b"], None).await, Err(Duplicate));
    assert_eq!(both.publish(["b"], 1).await, Err(OtherLast));
    for expected in [None, Some(4), Some(1)] {
        assert_eq!(both.publish(["b", "e"], expected).await, Err(Duplicate), "the first message's id");
    }
    for ids in [["e", "f", "b"], ["e", "f", "e"]] {
        assert_eq!(both.publish(ids, None).await, Err(Duplicate));
        assert_eq!(both.publish(ids, 4).await, Err(Duplicate));
        assert_eq!(both.publish(ids, 1).await, Err(OtherLast), "the first message's place");
    }
    assert_eq!(both.publish(["e", "f"], 4).await, Ok(6));
    both.agree_in_all().await;
}

#[tokio::test]
async fn the_model_cuts_large_groups_as_the_server_stores_them() {
    let mut both = Both::new().await;
    let ids: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(both.publish(ids[..1000].iter().copied(), 0).await, Ok(1000));
    assert_eq!(both.publish(ids[1000..2001].iter().copied(), 1000).await, Ok(2001));
    assert_eq!(both.publish(ids[2001..3500].iter().copied(), 2000).await, Err(OtherLast));
    assert_eq!(both.model.last(), 2001);
    // The first batch is stored, the second one holds a duplicate.
    let group = ids[3000..4200].iter().chain(&ids[..1]).copied();
    assert_eq!(both.publish(group, 2001).await, Err(Duplicate));
    assert_eq!(both.model.last(), 3001);
    assert_eq!(both.publish([ids[4100]], 3001).await, Ok(3002));
    both.agree_in_all().await;
}

#[tokio::test]
async fn the_model_is_truncated_as_the_server_is() {
    let mut both = Both::new().await;
    both.publish(["a", "b", "c", "d", "e", "f"], 0).await.unwrap();
    both.purge(3).await;
    both.agree_in_all().await;
    assert_eq!(both.publish(["a"], 6).await, Err(Duplicate), "purged, and still remembered");
    assert_eq!(both.publish(["x", "b"], 6).await, Err(Duplicate));
    both.limit(2).await;
    both.lift().await;
    both.agree_in_all().await;
    assert_eq!(both.publish(["d"], 6).await, Err(Duplicate), "discarded, and still remembered");
    both.purge(7).await;
    both.agree_in_all().await;
    assert_eq!((both.model.first(), both.model.last()), (7, 6));
    assert_eq!(both.publish(["f"], None).await, Err(Duplicate));
    for expected in [0, 5, 7] {
        assert_eq!(both.publish(["g"], expected).await, Err(OtherLast));
        assert_eq!(both.publish(["g", "h"], expected).await, Err(OtherLast));
    }
    assert_eq!(both.publish(["g"], 6).await, Ok(7));
    both.purge(8).await;
    assert_eq!(both.publish(["h", "i"], 7).await, Ok(9));
    both.purge(100).await;
    both.agree_in_all().await;
    assert_eq!(both.publish(["j"], 99).await, Ok(100));
}

#[tokio::test]
async fn the_model_forgets_discarded_ids_when_the_server_starts_again() {
    let mut both = Both::new().await;
    both.publish(["a", "b", "c"], 0).await.unwrap();
    both.purge(3).await;
    both = both.restart().await;
    assert_eq!(both.publish(["c"], 3).await, Err(Duplicate));
    assert_eq!(both.publish(["x", "c"], 3).await, Err(Duplicate));
    assert_eq!(both.publish(["a"], 3).await, Ok(4));
    assert_eq!(both.publish(["b", "d"], 4).await, Ok(6));
    both = both.crash().await;
    assert_eq!(both.publish(["a"], 6).await, Err(Duplicate));
    both.purge(7).await;
    both = both.crash().await;
    assert_eq!(both.publish(["a", "d"], 6).await, Ok(8), "an emptied stream keeps its last sequence");
    both.agree_in_all().await;
}

/// The server writes down at once what was purged, but not what a limit has discarded: after a crash it discards that
/// again, if the limit is still there. Even a stop in order in between helps only until the next message.
#[tokio::test]
async fn what_a_lifted_limit_has_discarded_is_back_after_a_crash() {
    let mut both = Both::new().await;
    both.publish(["a", "b", "c", "d"], 0).await.unwrap();
    let mut before = both.model.clone();
    both.limit(2).await;
    both = both.crash().await;
    assert_eq!(both.model.first(), 3);
    both.lift().await;
    both = both.restart().await;
    both.publish(["e"], 4).await.unwrap();
    before.publish(NOW_MS, None, vec![both.model.message(5).unwrap().clone()]).unwrap();
    both.kill();
    both = both.between(|_| {}, |model| *model = before).await;
    both.agree_in_all().await;
    assert_eq!(both.publish(["a"], 5).await, Err(Duplicate));
}

#[tokio::test]
async fn the_model_is_rolled_back_as_an_older_store_is() {
    let mut both = Both::new().await;
    both.publish(["a", "b", "c"], 0).await.unwrap();
    both = both.keep().await;
    both.publish(["d", "e"], 3).await.unwrap();
    both = both.go_back().await;
    both.agree_in_all().await;
    assert_eq!(both.publish(["b"], 3).await, Err(Duplicate));
    assert_eq!(both.publish(["f", "d"], 5).await, Err(OtherLast));
    assert_eq!(both.publish(["f", "d"], 3).await, Ok(5), "sequences are given again, ids are taken again");
    both.purge(4).await;
    both = both.go_back().await;
    assert_eq!((both.model.first(), both.model.last()), (1, 3), "messages can come back");
    both.agree_in_all().await;
}

#[tokio::test]
async fn a_stream_made_again_is_a_new_one_on_both_sides() {
    let mut both = Both::new().await;
    both.publish(["a", "b", "c"], 0).await.unwrap();
    both = both.keep().await;
    both.recreate().await;
    both.agree_in_all().await;
    assert_eq!(both.publish(["a", "b"], 3).await, Err(OtherLast));
    assert_eq!(both.publish(["b", "a"], 0).await, Ok(2));
    both = both.go_back().await;
    assert_eq!(both.model.last(), 3, "the old one is back");
    both.agree_in_all().await;
}

#[tokio::test]
async fn a_source_whose_next_message_is_discarded_is_lost_on_both_sides() {
    let mut both = Both::new().await;
    both.publish(["a", "b", "c", "d"], 0).await.unwrap();
    let mut slow = Reader::start(&both.connection, &both.model, 0, 1).await;
    let mut emptied = Reader::start(&both.connection, &both.model, 0, 1).await;
    slow.read(&both.model).await;
    emptied.read(&both.model).await;
    both.purge(3).await;
    slow.allow(1).await;
    slow.read(&both.model).await;
    assert_eq!(slow.next, None);
    both.purge(5).await;
    emptied.allow(1).await;
    emptied.read(&both.model).await;
    assert_eq!(emptied.next, Some(2), "nothing comes, nothing is missed yet");
    both.publish(["e"], 4).await.unwrap();
    emptied.read(&both.model).await;
    assert_eq!(emptied.next, None);
}

/// The server may remember an id a little longer than it says, never shorter.
#[tokio::test]
async fn the_duplicate_window_is_the_servers() {
    let mut both = Both::new().await;
    let mut stream = both.raw.get_stream(STREAM).await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    assert_eq!(config.duplicate_window, Duration::from_millis(DUPLICATE_WINDOW_MS));

    config.duplicate_window = Duration::from_millis(300);
    both.raw.update_stream(config).await.unwrap();
    let begin = Instant::now();
    both.publish(["a"], 0).await.unwrap();
    let message = both.model.message(1).unwrap().clone();
    let again = || publish_group(&both.connection, STREAM, SUBJECT, vec![message.clone()], None);
    while let Err(refusal) = outcome(again().await) {
        assert_eq!(refusal, Duplicate);
        assert!(begin.elapsed() < DEADLINE, "it is never forgotten");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());

    let within = both.model.publish(NOW_MS + DUPLICATE_WINDOW_MS - 1, None, vec![message.clone()]);
    assert_eq!(within, Err(Duplicate));
    assert_eq!(both.model.publish(NOW_MS + DUPLICATE_WINDOW_MS, None, vec![message]), Ok(2));
}

/// Some hundreds of steps, whatever comes.
#[tokio::test]
async fn the_model_and_the_server_agree_on_random_scripts() {
    let mut random = Rng::from_environment();
    for crashes in [false, true] {
        random_script(&mut random, crashes).await;
    }
}

/// Limits that are lifted and crashes are not in one script: see
/// [`what_a_lifted_limit_has_discarded_is_back_after_a_crash`].
#[allow(clippy::print_stdout, reason = "the steps of a failed run")]
async fn random_script(random: &mut Rng, crashes: bool) {
    const STEPS: usize = 150;
    let mut both = Both::new().await;
    for step in 0..STEPS {
        let (first, last, choice) = (both.model.first(), both.model.last(), random.below(100));
        println!("step {step}: {first}..={last}, choice {choice}");
        match choice {
            0..70 => publish_some(&mut both, random).await,
            70..80 => both.purge(first + random.below(last + 2 - first)).await,
            80..83 => both.purge(last + random.below(20)).await,
            83..88 if crashes => both = both.crash().await,
            83..88 => {
                both.limit(1 + random.below(10)).await;
                both.lift().await;
            }
            88..90 => both.recreate().await,
            90..93 => both = both.restart().await,
            93..95 => both = both.keep().await,
            95..97 if both.kept.is_some() => both = both.go_back().await,
            _ => both.agree_in_all().await,
        }
    }
    both.agree_in_all().await;
}

/// One message or a batch, ids that were taken or not, the right expectation or another one or none.
#[allow(clippy::print_stdout, reason = "the steps of a failed run")]
async fn publish_some(both: &mut Both, random: &mut Rng) {
    let last = both.model.last();
    let count = if random.chance(40) { 1 } else { 2 + random.below(5) };
    let taken_percent = if random.chance(60) { 0 } else { 30 };
    let bounds: Vec<u64> =
        (0..count).map(|_| if random.chance(taken_percent) { 20 } else { 1 << 40 }).collect();
    let ids: Vec<String> = bounds.into_iter().map(|bound| random.below(bound).to_string()).collect();
    let expected = match random.below(10) {
        0..3 => None,
        3..6 => Some(last.saturating_sub(1) + 2 * random.below(2)),
        _ => Some(last),
    };
    let outcome = both.publish(ids.iter().map(String::as_str), expected).await;
    println!("{ids:?} after {expected:?}: {outcome:?}");
}
