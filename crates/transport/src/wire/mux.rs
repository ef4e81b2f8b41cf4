//! One stream for everything: answers find who waits for them, the rest is heard by who listens.
//!
//! Progress goes with the answer: heard by a listener of its own pace, it could come after the answer that it was sent
//! before, when nobody wants it any more. So does what a subscription tells, which is an open request.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytestring::ByteString;
use fastmcp_protocol::RequestId;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use http::HeaderMap;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Incoming, WireError, peek::Peek};

/// Messages that nobody asked for and nobody has heard yet.
const UNHEARD: usize = 256;

/// News of progress that one request has not read yet. More is left out: the next tells more than the last.
const UNREAD: usize = 64;

/// Bytes of such news. Longer ones are for the listener, whose queue counts bytes.
const NEWS_BYTES: usize = 4 * 1024;

type Outcome = Result<ByteString, WireError>;

/// Where the messages of one stream go.
///
/// A listener that is slow makes the stream wait. While nobody listens, the newest messages are kept
/// and older ones are dropped, so that answers go on coming.
#[derive(Debug)]
pub(super) struct Mux {
    state: Mutex<State>,
    /// Bytes of unheard messages, unless one alone has more.
    bytes: usize,
    news: Notify,
    space: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<RequestId, Waiting>,
    unheard: VecDeque<ByteString>,
    unheard_bytes: usize,
    /// Who listens; the latest who began to.
    listener: Option<u64>,
    listeners: u64,
    /// Why nothing comes any more.
    closed: Option<String>,
}

/// Who waits for a response.
#[derive(Debug)]
struct Waiting {
    /// Closed when the response is there, which makes it the last of all.
    progress: mpsc::Sender<ByteString>,
    outcome: oneshot::Sender<Outcome>,
}

impl Mux {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            state: Mutex::default(),
            bytes,
            news: Notify::new(),
            space: Notify::new(),
        }
    }

    /// Begins to wait for the response to `id`.
    pub(super) fn expect(self: &Arc<Self>, id: Option<RequestId>) -> Result<Answer, WireError> {
        let Some(id) = id else {
            let text = "a request needs an id on this wire";
            return Err(WireError::Unreachable(text.to_owned()));
        };
        let (outcome, response) = oneshot::channel();
        let (progress, news) = mpsc::channel(UNREAD);
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(WireError::Closed(reason.clone()));
        }
        if state.waiting.contains_key(&id) {
            let text = format!("a request with id `{id}` is under way");
            return Err(WireError::Unreachable(text));
        }
        state
            .waiting
            .insert(id.clone(), Waiting { progress, outcome });
        drop(state);
        Ok(Answer {
            mux: Arc::clone(self),
            id,
            news,
            outcome: response,
        })
    }

    /// Brings one message to whom it is for. Waits for a listener that is slow.
    pub(super) async fn deliver(&self, message: ByteString) {
        match Peek::of(&message) {
            Some(Peek::Response(Some(id))) => {
                let waiting = self.lock().waiting.remove(&id);
                if waiting.is_none_or(|waiting| waiting.outcome.send(Ok(message)).is_err()) {
                    tracing::debug!(%id, "nobody waits for this response");
                }
            }
            Some(Peek::Progress(id)) => self.push_left(self.report(&id, message)).await,
            Some(Peek::Subscribed(id)) => self.push_left(self.tell(&id, message)).await,
            Some(Peek::Response(None) | Peek::Other) => self.push(message).await,
            None => {
                let beginning: String = message.chars().take(200).collect();
                tracing::warn!(?beginning, "the server sent what is no message");
            }
        }
    }

    /// Gives news of progress to whoever waits for the request; back, where nobody does.
    fn report(&self, id: &RequestId, message: ByteString) -> Option<ByteString> {
        let state = self.lock();
        let Some(waiting) = state
            .waiting
            .get(id)
            .filter(|_| message.len() <= NEWS_BYTES)
        else {
            return Some(message);
        };
        if waiting.progress.try_send(message).is_err() {
            tracing::debug!(%id, "progress is not read; some of it is left out");
        }
        None
    }

    /// Gives what a subscription tells to whoever subscribed; back, where nobody did. One that is not read breaks: unlike
    /// progress, what would be left out is not told again, and who subscribes anew knows that something may be missing.
    fn tell(&self, id: &RequestId, message: ByteString) -> Option<ByteString> {
        let mut state = self.lock();
        let Some(waiting) = state
            .waiting
            .get(id)
            .filter(|_| message.len() <= NEWS_BYTES)
        else {
            return Some(message);
        };
        let is_read = waiting.progress.try_send(message).is_ok();
        if !is_read && let Some(waiting) = state.waiting.remove(id) {
            let broken = "changes came faster than they were read".to_owned();
            // Whoever has stopped waiting needs no error.
            let _gone = waiting.outcome.send(Err(WireError::Broken(broken)));
        }
        None
    }

    /// Ends every wait for a response: nobody knows which one a broken message was.
    pub(super) fn fail(&self, error: impl Fn() -> WireError) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for waiting in waiting.into_values() {
            // Whoever has stopped waiting needs no error.
            let _gone = waiting.outcome.send(Err(error()));
        }
    }

    /// Ends everything. The first reason is the one that is given.
    pub(super) fn close(&self, reason: &str) {
        self.lock().closed.get_or_insert_with(|| reason.to_owned());
        self.fail(|| WireError::Closed(reason.to_owned()));
        self.news.notify_one();
        self.space.notify_one();
    }

    /// Why nothing comes any more, once that is so.
    pub(super) fn closed(&self) -> Option<String> {
        self.lock().closed.clone()
    }

    /// Begins to listen; who listened before hears no more.
    pub(super) fn listen(self: &Arc<Self>) -> Result<Incoming, WireError> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(WireError::Closed(reason.clone()));
        }
        state.listeners += 1;
        let number = state.listeners;
        state.listener = Some(number);
        drop(state);
        self.news.notify_one();
        let listener = Listener {
            mux: Arc::clone(self),
            number,
        };
        let messages = stream::unfold(Some(listener), |listener| async {
            let listener = listener?;
            match listener.next().await {
                Some(Ok(message)) => Some((Ok(message), Some(listener))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        });
        Ok(incoming(messages.boxed()))
    }

    /// Keeps what nobody took for whoever listens.
    async fn push_left(&self, message: Option<ByteString>) {
        if let Some(message) = message {
            self.push(message).await;
        }
    }

    async fn push(&self, message: ByteString) {
        let mut message = Some(message);
        while !self.offer(&mut message) {
            self.space.notified().await;
        }
        self.news.notify_one();
    }

    /// Whether `message` is taken; it is not where a listener has to catch up first.
    fn offer(&self, message: &mut Option<ByteString>) -> bool {
        let mut state = self.lock();
        let Some(bytes) = message.as_ref().map(|message| message.len()) else {
            return true;
        };
        if state.closed.is_some() {
            return true;
        }
        while state.is_full(bytes, self.bytes) {
            if state.listener.is_some() {
                return false;
            }
            state.pop();
            tracing::debug!("nobody listens to the server; a message is dropped");
        }
        state.unheard_bytes += bytes;
        state.unheard.extend(message.take());
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self, more: usize, limit: usize) -> bool {
        let beyond = self.unheard_bytes.saturating_add(more) > limit;
        !self.unheard.is_empty() && (beyond || self.unheard.len() >= UNHEARD)
    }

    fn pop(&mut self) -> Option<ByteString> {
        let message = self.unheard.pop_front()?;
        self.unheard_bytes -= message.len();
        Some(message)
    }
}

/// A response that is waited for. Dropped, nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Answer {
    mux: Arc<Mux>,
    id: RequestId,
    news: mpsc::Receiver<ByteString>,
    outcome: oneshot::Receiver<Outcome>,
}

impl Answer {
    /// The progress of the request, and its response as the last message.
    pub(super) fn incoming(self) -> Incoming {
        let messages = stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            if let Some(news) = answer.news.recv().await {
                return Some((Ok(news), Some(answer)));
            }
            let outcome = match (&mut answer.outcome).await {
                Ok(outcome) => outcome,
                // The sender is never dropped unused, but that is no reason to panic.
                Err(_) => Err(WireError::Closed("nothing comes any more".to_owned())),
            };
            Some((outcome, None))
        });
        incoming(messages.boxed())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.outcome.close();
        let mut state = self.mux.lock();
        // Where the response has come, the id may be another request's by now.
        if state
            .waiting
            .get(&self.id)
            .is_some_and(|waiting| waiting.outcome.is_closed())
        {
            state.waiting.remove(&self.id);
        }
    }
}

struct Listener {
    mux: Arc<Mux>,
    number: u64,
}

impl Listener {
    async fn next(&self) -> Option<Outcome> {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.mux.news.notified().await;
        }
    }

    /// What there is to hear now: a message, an end, or nothing yet.
    #[expect(clippy::option_option, reason = "the inner one is that of a stream")]
    fn take(&self) -> Option<Option<Outcome>> {
        let mut state = self.mux.lock();
        if state.listener != Some(self.number) {
            drop(state);
            // The news may have been for whoever listens now.
            self.mux.news.notify_one();
            return Some(None);
        }
        if let Some(message) = state.pop() {
            drop(state);
            self.mux.space.notify_one();
            return Some(Some(Ok(message)));
        }
        let reason = state.closed.clone()?;
        Some(Some(Err(WireError::Closed(reason))))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.mux.lock();
        if state.listener == Some(self.number) {
            state.listener = None;
        }
        drop(state);
        self.mux.space.notify_one();
    }
}

fn incoming(messages: BoxStream<'static, Outcome>) -> Incoming {
    Incoming {
        status: 200,
        headers: HeaderMap::new(),
        messages: messages.into(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn mux() -> Arc<Mux> {
        Arc::new(Mux::new(10_000))
    }

    fn note(n: usize) -> ByteString {
        format!(r#"{{"jsonrpc":"2.0","method":"n/{n}"}}"#).into()
    }

    fn answer(id: i64) -> ByteString {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#).into()
    }

    async fn next(incoming: &mut Incoming) -> ByteString {
        incoming.messages.next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn answers_find_their_requests_in_any_order() {
        let mux = mux();
        let expect = |n| mux.expect(Some(RequestId::Number(n)));
        let mut one = expect(1).unwrap().incoming();
        let mut two = expect(2).unwrap().incoming();
        assert!(matches!(expect(2), Err(WireError::Unreachable(_))));
        for message in [answer(2), answer(7), "noise".into(), answer(1)] {
            mux.deliver(message).await;
        }
        assert_eq!(next(&mut one).await, answer(1));
        assert_eq!(next(&mut two).await, answer(2));
        assert!(one.messages.next().await.is_none());
        drop((one, two));
        let again = expect(1).unwrap();
        drop(again);
        expect(1).unwrap();
        assert!(mux.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_subscription_hears_what_it_is_told_and_breaks_where_it_does_not_read() {
        let mux = mux();
        let told = |id: i64, n: usize| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"n/{n}","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
            );
            ByteString::from(text)
        };
        let mut heard = mux.listen().unwrap();
        let mut one = mux.expect(Some(RequestId::Number(1))).unwrap().incoming();
        for message in [told(1, 1), note(1), told(2, 1), told(1, 2)] {
            mux.deliver(message).await;
        }
        for expected in [told(1, 1), told(1, 2)] {
            assert_eq!(next(&mut one).await, expected);
        }
        // That of another is for whoever listens.
        for expected in [note(1), told(2, 1)] {
            assert_eq!(next(&mut heard).await, expected);
        }
        for n in 0..=UNREAD {
            mux.deliver(told(1, n)).await;
        }
        for n in 0..UNREAD {
            assert_eq!(next(&mut one).await, told(1, n));
        }
        let end = one.messages.next().await.unwrap();
        assert!(matches!(end, Err(WireError::Broken(_))), "{end:?}");
        assert!(one.messages.next().await.is_none());
        assert!(mux.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn progress_comes_before_the_answer_that_it_was_sent_before() {
        let mux = mux();
        let progress = |id: i64, n: usize, more: usize| {
            let more = "x".repeat(more);
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":{n},"message":"{more}"}}}}"#
            );
            ByteString::from(text)
        };
        // Somebody listens, and is slow.
        let mut heard = mux.listen().unwrap();
        let mut one = mux.expect(Some(RequestId::Number(1))).unwrap().incoming();
        let long = progress(1, 3, NEWS_BYTES);
        for message in [
            progress(1, 1, 0),
            note(1),
            progress(1, 2, 0),
            long.clone(),
            progress(2, 1, 0),
            answer(1),
            progress(1, 4, 0),
        ] {
            mux.deliver(message).await;
        }
        for expected in [progress(1, 1, 0), progress(1, 2, 0), answer(1)] {
            assert_eq!(next(&mut one).await, expected);
        }
        assert!(one.messages.next().await.is_none());
        for expected in [note(1), long, progress(2, 1, 0), progress(1, 4, 0)] {
            assert_eq!(next(&mut heard).await, expected);
        }
        // Whoever does not read holds nobody up.
        let mut two = mux.expect(Some(RequestId::Number(2))).unwrap().incoming();
        for n in 0..UNREAD + 10 {
            mux.deliver(progress(2, n, 0)).await;
        }
        mux.deliver(answer(2)).await;
        for n in 0..UNREAD {
            assert_eq!(next(&mut two).await, progress(2, n, 0));
        }
        assert_eq!(next(&mut two).await, answer(2));
    }

    #[tokio::test]
    async fn a_slow_listener_holds_the_stream_and_nobody_does_not() {
        let mux = mux();
        for n in 0..UNHEARD + 10 {
            mux.deliver(note(n)).await;
        }
        let mut heard = mux.listen().unwrap();
        let more = note(UNHEARD + 10);
        let mut waits = Box::pin(mux.deliver(more.clone()));
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(next(&mut heard).await, note(10), "older ones are gone");
        waits.await;
        let mut waits = Box::pin(mux.deliver(more.clone()));
        assert!((&mut waits).now_or_never().is_none());
        drop(heard);
        waits.await;
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let mux = Arc::new(Mux::new(100));
        for n in 0..50 {
            mux.deliver(note(n)).await;
        }
        assert!(mux.lock().unheard_bytes <= 100);
        let large = note(10_usize.pow(18))
            .to_string()
            .replace("n/", &"n".repeat(200));
        mux.deliver(large.clone().into()).await;
        let mut heard = mux.listen().unwrap();
        assert_eq!(next(&mut heard).await, large, "one alone may be larger");
    }

    #[tokio::test]
    async fn the_latest_listener_hears() {
        let mux = mux();
        let mut first = mux.listen().unwrap();
        let mut waits = first.messages.next();
        assert!((&mut waits).now_or_never().is_none());
        let mut second = mux.listen().unwrap();
        mux.deliver(note(1)).await;
        assert!(waits.await.is_none());
        assert_eq!(next(&mut second).await, note(1));
    }

    #[tokio::test]
    async fn an_end_reaches_everybody_once() {
        let mux = mux();
        let mut one = mux.expect(Some(RequestId::Number(1))).unwrap().incoming();
        let mut heard = mux.listen().unwrap();
        mux.deliver(note(1)).await;
        mux.close("gone");
        mux.close("again");
        let error = one.messages.next().await.unwrap().unwrap_err();
        assert!(matches!(error, WireError::Closed(reason) if reason == "gone"));
        assert_eq!(next(&mut heard).await, note(1), "what was said is heard");
        let error = heard.messages.next().await.unwrap().unwrap_err();
        assert!(matches!(error, WireError::Closed(reason) if reason == "gone"));
        assert!(heard.messages.next().await.is_none());
        assert!(matches!(mux.listen(), Err(WireError::Closed(_))));
        let refused = mux.expect(Some(RequestId::Number(2)));
        assert!(matches!(refused, Err(WireError::Closed(_))));
    }
}
