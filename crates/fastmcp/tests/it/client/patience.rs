//! Answers that do not come, and callers that do not wait.

use std::{sync::Arc, time::Duration};

use fastmcp::{
    Client,
    client::CallOptions,
    error::ErrorKind,
    protocol::elicit::ElicitResult,
    transport::{WireError, WireKind},
};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;

use super::fake::{Answer, Fake, status};

const S: fn(u64) -> Duration = Duration::from_secs;

/// A server whose tool calls say what is sent to the returned end, progress of the call among it.
fn speaking(kind: WireKind, old: bool) -> (Arc<Fake>, mpsc::Sender<Value>) {
    let (sender, receiver) = mpsc::channel(8);
    let waiting = std::sync::Mutex::new(Some(receiver));
    let fake = Fake::new(kind, move |sent| match sent.method() {
        "server/discover" if old => status(404),
        "server/discover" => sent.described(),
        "initialize" => sent.greeted(),
        _ => waiting
            .lock()
            .unwrap()
            .take()
            .map_or(Answer::Silence, Answer::Stream),
    });
    (fake, sender)
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up_and_said_so() {
    for (kind, old, said) in [
        (WireKind::Stdio, false, true),
        (WireKind::Http, false, false),
        (WireKind::Http, true, true),
    ] {
        let (fake, _sender) = speaking(kind, old);
        let client = fake.connect(Client::builder().timeout(S(5))).await.unwrap();
        let started = Instant::now();
        let error = client.call_tool("t", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(started.elapsed(), S(5));
        assert_eq!(
            fake.open_streams(),
            0,
            "closing the stream cancels over HTTP"
        );
        if said {
            let call = &fake.of("tools/call")[0].message["id"];
            let cancelled = fake.until("notifications/cancelled", 1).await;
            assert_eq!(&cancelled[0].params()["requestId"], call);
        }
        tokio::task::yield_now().await;
        assert_eq!(fake.of("notifications/cancelled").len(), usize::from(said));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_gains_time_but_not_for_ever() {
    let (fake, sender) = speaking(WireKind::Http, false);
    let builder = Client::builder().timeout(S(5)).max_time(S(60));
    let client = fake.connect(builder).await.unwrap();
    let (seen, mut progress) = mpsc::channel(64);
    let options = CallOptions::new()
        .max_time(S(18))
        .on_progress(move |p| seen.try_send(p.progress).unwrap());
    let talking = async {
        let call = fake.until("tools/call", 1).await;
        let token = call[0].params()["_meta"]["progressToken"].clone();
        for step in 1.. {
            tokio::time::sleep(S(4)).await;
            let params = json!({"progressToken": token, "progress": step});
            let message =
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
            if sender.send(message).await.is_err() {
                return step;
            }
        }
        0
    };
    let started = Instant::now();
    let (error, stopped) = tokio::join!(
        async {
            let error = client
                .call_tool_with("t", json!({}), &options)
                .await
                .unwrap_err();
            (error, started.elapsed())
        },
        talking
    );
    assert_eq!(error.0.kind(), ErrorKind::Timeout);
    assert_eq!(error.1, S(18), "the hard limit holds");
    assert_eq!(stopped, 5);
    assert_eq!(progress.recv().await, Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn progress_gains_time_where_one_stream_is_for_everything_too() {
    let (fake, sender) = speaking(WireKind::Stdio, false);
    let unasked = fake.speaks();
    let client = fake.connect(Client::builder().timeout(S(5))).await.unwrap();
    let (seen, mut progress) = mpsc::channel(64);
    let options = CallOptions::new().on_progress(move |p| seen.try_send(p.progress).unwrap());
    let talking = async {
        let call = fake.until("tools/call", 1).await;
        let token = &call[0].params()["_meta"]["progressToken"];
        for step in [1, 2, 3] {
            tokio::time::sleep(S(4)).await;
            for about in [json!("another"), token.clone()] {
                let params = json!({"progressToken": about, "progress": step});
                let message =
                    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
                unasked.send(message).await.unwrap();
            }
        }
        tokio::time::sleep(S(4)).await;
        let done = call[0].response(json!({"resultType": "complete", "content": []}));
        sender.send(done).await.unwrap();
    };
    let arguments = json!({});
    let call = client.call_tool_with("t", arguments, &options);
    let (result, ()) = tokio::join!(call, talking);
    result.unwrap();
    drop(options);
    let mut all = Vec::new();
    while let Some(step) = progress.recv().await {
        all.push(step);
    }
    assert_eq!(all, [1.0, 2.0, 3.0]);
}

#[tokio::test(start_paused = true)]
async fn progress_of_other_calls_gains_nothing() {
    let (fake, sender) = speaking(WireKind::Http, false);
    let client = fake.connect(Client::builder().timeout(S(5))).await.unwrap();
    let talking = async {
        fake.until("tools/call", 1).await;
        tokio::time::sleep(S(4)).await;
        let params = json!({"progressToken": "another", "progress": 1});
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        sender.send(message).await.unwrap();
        sender.closed().await;
    };
    let started = Instant::now();
    let (result, ()) = tokio::join!(client.call_tool("t", json!({})), talking);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), S(5));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_people_does_not_count() {
    let (fake, sender) = speaking(WireKind::Http, true);
    let builder = Client::builder().timeout(S(5)).on_elicit(|_| async {
        tokio::time::sleep(S(100)).await;
        Ok(ElicitResult::accept(Map::new()))
    });
    let client = fake.connect(builder).await.unwrap();
    let server = async {
        let call = fake.until("tools/call", 1).await;
        let schema = json!({"type": "object", "properties": {}});
        let question = json!({
            "jsonrpc": "2.0", "id": "q", "method": "elicitation/create",
            "params": {"message": "m", "requestedSchema": schema},
        });
        sender.send(question).await.unwrap();
        fake.until("answer", 1).await;
        let done = call[0].response(json!({"content": []}));
        sender.send(done).await.unwrap();
    };
    let started = Instant::now();
    let (result, ()) = tokio::join!(client.call_tool("t", json!({})), server);
    result.unwrap();
    assert_eq!(started.elapsed(), S(100));
}

/// Says when it is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.try_send(()).unwrap();
    }
}

#[tokio::test]
async fn a_question_that_is_taken_back_is_answered_no_more() {
    let (fake, sender) = speaking(WireKind::Http, true);
    let (asked, mut was_asked) = mpsc::channel(1);
    let (gone, mut was_dropped) = mpsc::channel(1);
    let builder = Client::builder().on_elicit(move |_| {
        let (asked, dropped) = (asked.clone(), Dropped(gone.clone()));
        async move {
            let _dropped = dropped;
            asked.send(()).await.unwrap();
            std::future::pending().await
        }
    });
    let client = fake.connect(builder).await.unwrap();
    let server = async {
        let call = fake.until("tools/call", 1).await;
        let params =
            json!({"message": "m", "requestedSchema": {"type": "object", "properties": {}}});
        let question =
            json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params});
        sender.send(question).await.unwrap();
        was_asked.recv().await.unwrap();
        let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "q"}});
        sender.send(back).await.unwrap();
        was_dropped.recv().await.unwrap();
        let done = call[0].response(json!({"content": []}));
        sender.send(done).await.unwrap();
    };
    let (result, ()) = tokio::join!(client.call_tool("t", json!({})), server);
    result.unwrap();
    assert!(fake.of("answer").is_empty());
}

#[tokio::test]
async fn a_dropped_call_is_cancelled() {
    for (kind, old, said) in [
        (WireKind::Stdio, false, true),
        (WireKind::Http, false, false),
        (WireKind::Http, true, true),
    ] {
        let (fake, _sender) = speaking(kind, old);
        let client = fake.connect(Client::builder()).await.unwrap();
        let caller = client.clone();
        let call = TaskTracker::new().spawn(async move { caller.call_tool("t", json!({})).await });
        fake.until("tools/call", 1).await;
        while fake.open_streams() == 0 {
            tokio::task::yield_now().await;
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(fake.open_streams(), 0);
        if said {
            fake.until("notifications/cancelled", 1).await;
        } else {
            tokio::task::yield_now().await;
            assert!(fake.of("notifications/cancelled").is_empty());
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error_and_the_call_is_not_made_again() {
    let (fake, sender) = speaking(WireKind::Http, false);
    let client = fake.connect(Client::builder()).await.unwrap();
    drop(sender);
    let error = client.call_tool("t", json!({})).await.unwrap_err();
    let cause = error.source().and_then(|e| e.downcast_ref::<WireError>());
    assert!(matches!(cause, Some(WireError::Broken(_))), "{error}");
    assert_eq!(fake.of("tools/call").len(), 1);
}
