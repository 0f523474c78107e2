//! Runs completion hooks off the response path: after a response's last byte, on the workers, in
//! the order in which the responses of a worker ended.
//!
//! A body is dropped before its bytes are written to the socket. Hooks that ran right there would
//! hold the response back by their own duration, and would be told of bytes that have not left.
//! So what a response leaves behind is queued, one queue per worker, and a task of the same
//! executor empties the queue once the worker has returned from the connection. A server that
//! says when its connections are flushed ([`FlushNotifier`]) has them wait for that as well.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thread_local::ThreadLocal;
use tokio::runtime::Handle;

use crate::exchange::Exchange;
use crate::layer::Passage;
use crate::shared::LogBudget;

/// Responses whose hooks may be waiting in one worker's queue. The hooks of what comes then run at
/// once: hooks that are slower than the traffic must not take all memory, and slow it down instead.
const QUEUE_MAX: usize = 1_024;

/// Responses of one connection that may wait for its next flush; HTTP/2 has that many streams at
/// most. The oldest one waits no longer when there are more.
const UNFLUSHED_MAX: usize = 256;

/// How long a worker may be busy with hooks before it turns to other tasks.
const TURN: Duration = Duration::from_millis(1);

/// How long [`Completions::finish`] waits for hooks that run elsewhere: more than a hook may take.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// How often it looks.
const FINISH_POLL: Duration = Duration::from_millis(1);

/// The queues of all workers.
#[derive(Debug)]
pub(crate) struct Completions {
    queues: ThreadLocal<Arc<Queue>>,
    /// Hooks that wait for state outside this process.
    suspended: AtomicUsize,
    log: LogBudget,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    /// Taken out of `jobs` and not done yet.
    running: AtomicUsize,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// There is a task that empties the queue.
    scheduled: bool,
}

/// What a response leaves behind.
#[derive(Debug)]
pub(crate) struct Job {
    passage: Passage,
    exchange: Option<Box<Exchange>>,
    /// Counted among its generation's streams.
    streams: bool,
}

impl Completions {
    pub(crate) fn new(origin: Instant) -> Self {
        Self {
            queues: ThreadLocal::new(),
            suspended: AtomicUsize::new(0),
            log: LogBudget::new(origin),
        }
    }

    /// Queues a response's hooks. Outside an executor there is nobody to run them later, so they
    /// run here.
    fn push(&self, job: Job) {
        let queue = self.queues.get_or_default();
        let mut jobs = queue.lock();
        if jobs.waiting.len() >= QUEUE_MAX {
            drop(jobs);
            // Behind the others they would be in memory; dropped, they would be missing from the
            // access log, which an attacker could bring about.
            job.run();
            if self.log.take(Instant::now(), 1) {
                tracing::warn!(
                    limit = QUEUE_MAX,
                    "completion queue full; completion hooks delay responses"
                );
            }
            return;
        }
        if !jobs.scheduled {
            let Ok(handle) = Handle::try_current() else {
                drop(jobs);
                job.run();
                return;
            };
            jobs.scheduled = true;
            jobs.waiting.push_back(job);
            drop(jobs);
            let task = Scheduled { queue: Arc::clone(queue), is_done: false };
            drop(handle.spawn(task.empty()));
            return;
        }
        jobs.waiting.push_back(job);
    }

    /// Runs what is queued and waits for what runs elsewhere, within a bounded time: for the end
    /// of a process, before its sinks are flushed.
    pub(crate) fn finish(&self) {
        let began = Instant::now();
        loop {
            let mut running = self.suspended.load(Ordering::Acquire);
            for queue in &self.queues {
                while queue.run_one() {}
                running += queue.running.load(Ordering::Acquire);
            }
            if running == 0 {
                return;
            }
            if began.elapsed() > FINISH_MAX {
                tracing::warn!(running, "completion hooks are still running at the end");
                return;
            }
            std::thread::sleep(FINISH_POLL);
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the oldest job; `false` when there is none.
    fn run_one(&self) -> bool {
        let job = {
            let mut jobs = self.lock();
            let Some(job) = jobs.waiting.pop_front() else {
                return false;
            };
            self.running.fetch_add(1, Ordering::AcqRel);
            job
        };
        job.run();
        self.running.fetch_sub(1, Ordering::AcqRel);
        true
    }
}

/// The task that empties a queue. When its executor ends first, what is left stays queued for the
/// next task or for [`Completions::finish`].
#[derive(Debug)]
struct Scheduled {
    queue: Arc<Queue>,
    is_done: bool,
}

impl Scheduled {
    async fn empty(mut self) {
        // What the worker has to do for responses comes first.
        tokio::task::yield_now().await;
        loop {
            let began = Instant::now();
            while began.elapsed() < TURN {
                if !self.queue.run_one() {
                    let mut jobs = self.queue.lock();
                    if jobs.waiting.is_empty() {
                        jobs.scheduled = false;
                        self.is_done = true;
                        return;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Scheduled {
    fn drop(&mut self) {
        if !self.is_done {
            self.queue.lock().scheduled = false;
        }
    }
}

impl Job {
    pub(crate) fn new(passage: Passage, exchange: Box<Exchange>, streams: bool) -> Self {
        Self { passage, exchange: Some(exchange), streams }
    }

    /// Queues the hooks, now or after the connection's next flush.
    pub(crate) fn queue(mut self, flush: Option<&FlushWatch>) {
        self.clock();
        if !self.passage.chain().completes() {
            return;
        }
        match flush {
            Some(flush) if self.is_complete() => flush.wait(self),
            _ => self.push(),
        }
    }

    fn push(self) {
        let completions = Arc::clone(&self.passage.generation.completions);
        completions.push(self);
    }

    fn is_complete(&self) -> bool {
        self.exchange.as_ref().is_some_and(|exchange| exchange.ended_by == "complete")
    }

    /// The response has ended now.
    fn clock(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.clock(Instant::now());
        }
    }

    fn run(mut self) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let chain = self.passage.chain();
        let exchange = chain.on_complete(exchange);
        if chain.completes_later() {
            let suspended = Suspended::new(self.passage.clone());
            let hooks = async move {
                suspended.0.chain().on_complete_awaiting(exchange).await;
                drop(suspended);
            };
            if !chain.outside().is_some_and(|outside| outside.later(hooks)) {
                chain.completions_dropped();
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.streams {
            self.passage.generation.streams.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Counts hooks that wait for state outside this process.
struct Suspended(Passage);

impl Suspended {
    fn new(passage: Passage) -> Self {
        passage.generation.completions.suspended.fetch_add(1, Ordering::AcqRel);
        Self(passage)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        self.0.generation.completions.suspended.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A server's side of one connection's write half: the server calls [`Self::flushed`] whenever
/// everything that it had to write has been written to the socket, and drops this when the
/// connection has ended.
///
/// Completion hooks of requests that carry the connection's [`FlushWatch`] as an extension then
/// run after the flush that follows the response's last byte, and say `client` in `ended-by` when
/// the connection ended before. Without it they run when the server has taken the last byte.
#[derive(Debug, Default)]
pub struct FlushNotifier(FlushWatch);

/// The extension that ties a request to its connection's [`FlushNotifier`].
#[derive(Clone, Debug, Default)]
pub struct FlushWatch(Arc<Flush>);

#[derive(Debug, Default)]
struct Flush {
    /// Whether there is something in `unflushed`, so that a flush of nothing costs one load.
    is_waiting: AtomicBool,
    unflushed: Mutex<Unflushed>,
}

#[derive(Debug, Default)]
struct Unflushed {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl FlushNotifier {
    /// For the requests of this connection.
    pub fn watch(&self) -> FlushWatch {
        self.0.clone()
    }

    /// Everything that was to be written so far is in the socket.
    pub fn flushed(&self) {
        let flush = &self.0.0;
        if flush.is_waiting.load(Ordering::Acquire) {
            let jobs = {
                let mut unflushed = flush.lock();
                flush.is_waiting.store(false, Ordering::Release);
                std::mem::take(&mut unflushed.jobs)
            };
            for mut job in jobs {
                job.clock();
                job.push();
            }
        }
    }
}

impl Drop for FlushNotifier {
    fn drop(&mut self) {
        let jobs = {
            let mut unflushed = self.0.0.lock();
            unflushed.is_closed = true;
            std::mem::take(&mut unflushed.jobs)
        };
        for mut job in jobs {
            if let Some(exchange) = &mut job.exchange {
                exchange.ended_by = "client";
            }
            job.clock();
            job.push();
        }
    }
}

impl FlushWatch {
    fn wait(&self, mut job: Job) {
        let mut unflushed = self.0.lock();
        if unflushed.is_closed {
            drop(unflushed);
            if let Some(exchange) = &mut job.exchange {
                exchange.ended_by = "client";
            }
            job.push();
            return;
        }
        unflushed.jobs.push_back(job);
        let oldest =
            (unflushed.jobs.len() > UNFLUSHED_MAX).then(|| unflushed.jobs.pop_front()).flatten();
        self.0.is_waiting.store(true, Ordering::Release);
        drop(unflushed);
        if let Some(oldest) = oldest {
            oldest.push();
        }
    }
}

impl Flush {
    fn lock(&self) -> MutexGuard<'_, Unflushed> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
