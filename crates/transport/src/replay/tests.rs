use super::*;

fn replay(limits: ReplayLimits) -> (Arc<Replay>, Arc<Budget>) {
    let budget = Arc::new(Budget::default());
    let replay = Replay::new(Arc::new(limits), Arc::clone(&budget));
    (Arc::new(replay), budget)
}

fn read(reader: &Outlet) -> Vec<(Option<String>, String)> {
    std::iter::from_fn(|| reader.pop())
        .map(|f| (f.id.map(|id| id.to_string()), f.data.to_string()))
        .collect()
}

fn events(pairs: &[(&str, &str)]) -> Vec<(Option<String>, String)> {
    let own = |(id, data): &(&str, &str)| (Some((*id).to_owned()), (*data).to_owned());
    pairs.iter().map(own).collect()
}

async fn say(stream: &Outlet, words: &[&'static str]) {
    for word in words {
        stream.send(Frame::message(*word)).await.unwrap();
    }
}

/// Resumes, and tells what came before the stream was live again.
async fn back(
    replay: &Arc<Replay>,
    last: &str,
) -> (Outlet, Option<Outlet>, Vec<(Option<String>, String)>) {
    let reader = Outlet::new(64);
    let resumed = replay.resume(last, reader.clone()).unwrap();
    let stream = resumed.replay().await;
    let seen = read(&reader);
    (reader, stream, seen)
}

#[tokio::test]
async fn a_stream_begins_with_its_first_message_and_ids_name_it() {
    let (replay, _) = replay(ReplayLimits::default());
    let (quiet, one, other) = (Outlet::new(8), Outlet::new(8), Outlet::new(8));
    let silent = replay.stream(quiet.clone(), true);
    assert_eq!(
        silent.finish("answer".into()).await.as_deref(),
        Some("answer")
    );
    say(&replay.stream(one.clone(), true), &["a", "b"]).await;
    say(&replay.stream(other.clone(), false), &["c"]).await;
    let first = one.pop().unwrap();
    assert_eq!(
        (first.id.as_deref(), &*first.data, first.retry),
        (Some("0-0"), "", Some(Duration::from_secs(1)))
    );
    assert_eq!(read(&one), events(&[("0-1", "a"), ("0-2", "b")]));
    assert_eq!(read(&other), events(&[("1-0", "c")]));
    assert!(read(&quiet).is_empty());
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed_of_that_stream_alone_and_goes_on() {
    let (replay, _) = replay(ReplayLimits::default());
    let (reader, other) = (Outlet::new(8), Outlet::new(8));
    let stream = replay.stream(reader.clone(), true);
    say(&stream, &["a"]).await;
    say(&replay.stream(other, true), &["of another stream"]).await;
    reader.close();
    say(&stream, &["b", "c"]).await;
    let (second, live, missed) = back(&replay, "0-1").await;
    assert!(live.is_some());
    assert_eq!(missed, events(&[("0-2", "b"), ("0-3", "c")]));
    say(&stream, &["d"]).await;
    assert_eq!(stream.finish("answer".into()).await, None);
    assert!(second.is_closed(), "the stream ends with the answer");
    assert_eq!(read(&second), events(&[("0-4", "d"), ("0-5", "answer")]));
    // Its answer may not have arrived: it is still there.
    let (_, live, missed) = back(&replay, "0-4").await;
    assert!(live.is_none());
    assert_eq!(missed, events(&[("0-5", "answer")]));
    assert!(stream.send(Frame::message("more")).await.is_err());
}

#[tokio::test]
async fn the_newest_reader_goes_on_and_the_others_are_sent_away() {
    let (replay, _) = replay(ReplayLimits::default());
    let first = Outlet::new(8);
    let stream = replay.stream(first.clone(), true);
    say(&stream, &["a"]).await;
    let (second, _, _) = back(&replay, "0-0").await;
    first.closed().await;
    let late = replay.resume("0-1", Outlet::new(8)).unwrap();
    let (third, _, _) = back(&replay, "0-1").await;
    assert!(second.is_closed());
    assert!(late.replay().await.is_none(), "somebody came after it");
    say(&stream, &["b"]).await;
    assert_eq!(read(&third), events(&[("0-2", "b")]));
}

#[tokio::test]
async fn a_stream_that_is_let_go_waits_for_its_reader() {
    let (replay, _) = replay(ReplayLimits::default());
    let reader = Outlet::new(8);
    let stream = replay.stream(reader.clone(), true);
    assert!(stream.let_go(Duration::from_millis(500)));
    assert!(reader.is_closed() && !stream.is_closed());
    let frames: Vec<_> = std::iter::from_fn(|| reader.pop()).collect();
    assert_eq!(frames[1].retry, Some(Duration::from_millis(500)));
    assert_eq!(frames[1].id.as_deref(), Some("0-1"));
    assert_eq!(stream.finish("answer".into()).await, None);
    let (_, _, missed) = back(&replay, "0-1").await;
    assert_eq!(missed, events(&[("0-2", "answer")]));
    let plain = replay.stream(Outlet::new(8), false);
    assert!(
        !plain.let_go(Duration::ZERO),
        "its client would not come back"
    );
    assert!(!Outlet::new(8).let_go(Duration::ZERO));
}

#[tokio::test]
async fn the_oldest_is_forgotten_first_and_the_loss_is_told() {
    let (replay, budget) = replay(ReplayLimits {
        frames: 3,
        stream_bytes: 10,
        ..ReplayLimits::default()
    });
    let stream = replay.stream(Outlet::new(64), false);
    say(&stream, &["1", "2", "3", "4"]).await;
    let lossy = |last: &str| replay.resume(last, Outlet::new(1)).unwrap().is_lossy();
    assert!(!lossy("0-0"), "it saw what is forgotten");
    say(&stream, &["5"]).await;
    assert!(lossy("0-0"));
    let (_, _, missed) = back(&replay, "0-0").await;
    assert_eq!(missed, events(&[("0-2", "3"), ("0-3", "4"), ("0-4", "5")]));
    say(&stream, &["longer than ten bytes"]).await;
    assert_eq!(budget.used(), 21);
    let (_, _, missed) = back(&replay, "0-4").await;
    assert_eq!(missed.len(), 1, "the newest is kept whatever its size");
    drop((stream, replay));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_session_and_all_of_them_are_bounded_too() {
    let (one, budget) = replay(ReplayLimits {
        session_bytes: 4,
        total_bytes: 6,
        ..ReplayLimits::default()
    });
    let streams: Vec<_> = (0..3).map(|_| one.stream(Outlet::new(8), false)).collect();
    for stream in &streams {
        say(stream, &["ab"]).await;
    }
    assert_eq!(budget.used(), 4);
    assert!(one.resume("0-0", Outlet::new(8)).is_ok(), "it goes on");
    streams[0].abandon();
    say(&streams[2], &["cd"]).await;
    assert_eq!(
        one.resume("0-0", Outlet::new(8)).unwrap_err(),
        ResumeError::Forgotten,
        "it has ended, and nothing of it is left"
    );
    let limits = ReplayLimits {
        total_bytes: 6,
        ..ReplayLimits::default()
    };
    let other = Arc::new(Replay::new(Arc::new(limits), Arc::clone(&budget)));
    let stream = other.stream(Outlet::new(8), false);
    say(&stream, &["ef", "gh"]).await;
    assert_eq!(budget.used(), 6, "beyond the total only the newest is kept");
}

#[tokio::test]
async fn a_stream_too_many_works_without_being_kept() {
    let (replay, _) = replay(ReplayLimits {
        streams: 1,
        ..ReplayLimits::default()
    });
    let (first, second, third) = (Outlet::new(8), Outlet::new(8), Outlet::new(8));
    let stream = replay.stream(first, true);
    say(&stream, &["a"]).await;
    let plain = replay.stream(second.clone(), true);
    say(&plain, &["b"]).await;
    assert_eq!(read(&second), [(None, "b".to_owned())]);
    assert!(!plain.let_go(Duration::ZERO));
    assert_eq!(
        plain.finish("answer".into()).await.as_deref(),
        Some("answer")
    );
    stream.abandon();
    say(&replay.stream(third.clone(), true), &["c"]).await;
    assert_eq!(read(&third).len(), 2, "an ended one makes room");
}

#[tokio::test]
async fn a_slow_reader_makes_the_call_wait_until_it_leaves() {
    let (replay, _) = replay(ReplayLimits::default());
    let reader = Outlet::new(1);
    let stream = replay.stream(reader.clone(), false);
    say(&stream, &["a"]).await;
    let waiting = stream.send(Frame::message("b"));
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(stream.try_send(Frame::message("c")), Ok(false));
    assert!(reader.pop().is_some());
    waiting.await.unwrap();
    let waiting = stream.send(Frame::message("c"));
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    reader.close();
    waiting.await.unwrap();
    let (_, _, missed) = back(&replay, "0-0").await;
    assert_eq!(missed, events(&[("0-1", "b"), ("0-2", "c")]));
}

#[tokio::test]
async fn ids_are_read_strictly() {
    let (replay, _) = replay(ReplayLimits::default());
    let stream = replay.stream(Outlet::new(8), false);
    say(&stream, &["a"]).await;
    for wrong in [
        "",
        "-",
        "0",
        "0-",
        "-0",
        "0-1",
        "1-0",
        "+0-0",
        "0-0 ",
        "0-0-0",
        "0-00000000000000000",
        "x-0",
    ] {
        let error = replay.resume(wrong, Outlet::new(8)).unwrap_err();
        assert_eq!(error, ResumeError::Unknown, "{wrong:?}");
    }
    replay.close();
    assert_eq!(
        replay.resume("0-0", Outlet::new(8)).unwrap_err(),
        ResumeError::Forgotten
    );
    assert!(stream.is_closed());
}
