//! One writer, many readers, a bounded queue that is fair by asker.
//!
//! The writer thread executes calls one after another and seals them in batches; a second thread
//! appends and syncs each batch, publishes its state and only then lets its replies go. While a
//! batch is being synced the writer executes the next one, so a batch grows as long as the disk
//! is busy and is sealed as soon as it is free: one client pays one sync per write, many share it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use host_core::{Batch, Call, Guests, Outcome, Reply, Service, State, TxStatus};
use kv::TxId;
use model::FrameworkError;
use tokio::sync::{Notify, oneshot};

use crate::asker::{Asker, Source};
use crate::clock::Clock;
use crate::fair::{FairQueue, Offered};
use crate::https::Held;
use crate::ledger_files::{LedgerFiles, LedgerFilesError, LedgerReader};

/// Bounds of the queue and of batches.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Calls that wait for the writer; further ones are refused.
    pub queue_entries_max: usize,
    /// Calls in one batch.
    pub batch_entries_max: usize,
    /// Size of the state above which the application writes nothing, bytes.
    pub state_bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            queue_entries_max: 1024,
            batch_entries_max: 256,
            state_bytes_max: crate::memory::half_of_machine(),
        }
    }
}

/// A call was not executed, or nobody knows whether its effects will last.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// The writer's queue is full; nothing was executed.
    #[error("too many requests wait to be executed; try again")]
    QueueFull,
    /// The node stops or its ledger failed. Nothing is known of the call.
    #[error("the node has stopped writing")]
    Stopped,
}

impl Unavailable {
    /// The answer to the caller.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::QueueFull => Reply::error(FrameworkError::TooManyPendingTransactions, self.to_string())
                .with_header("retry-after", "1"),
            Self::Stopped => Reply::error(FrameworkError::InternalError, self.to_string()),
        }
    }
}

type Answer = oneshot::Sender<Result<Outcome, Unavailable>>;

/// A call that waits for the writer.
struct Waiting {
    call: Call,
    answer: Answer,
    /// The memory that its body takes, until it has been executed.
    held: Held,
}

/// What the threads share.
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    state: RwLock<Arc<State>>,
    guests: Arc<dyn Guests>,
    limits: QueueLimits,
    /// Told when writing has failed.
    failure: Notify,
}

/// Work for the writer.
struct Inbox {
    calls: FairQueue<Waiting>,
    /// The syncing thread waits for a batch.
    disk_idle: bool,
    stopping: bool,
    /// The ledger failed: nothing is executed any more.
    failed: bool,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops everything: waiting calls are answered by their dropped senders.
    fn fail(&self) {
        let mut inbox = self.inbox();
        inbox.failed = true;
        inbox.calls.clear();
        self.wake.notify_all();
        self.failure.notify_waiters();
    }
}

/// What the writer does next.
#[allow(
    clippy::large_enum_variant,
    reason = "moved once, from the queue to the writer"
)]
enum Next {
    Execute(Waiting),
    Seal,
    Stop,
}

impl Shared {
    /// Blocks until there is something to do. A batch of `batched` calls is sealed once no call
    /// waits and the disk is free, or once it is full.
    fn next(&self, batched: usize, full: bool) -> Next {
        let mut inbox = self.inbox();
        loop {
            if inbox.failed {
                return Next::Stop;
            }
            let full = full || batched >= self.limits.batch_entries_max;
            if !full && let Some(waiting) = inbox.calls.pop() {
                return Next::Execute(waiting);
            }
            if inbox.disk_idle {
                if batched > 0 {
                    inbox.disk_idle = false;
                    return Next::Seal;
                }
                if inbox.stopping {
                    inbox.disk_idle = false;
                    return Next::Stop;
                }
            }
            inbox = self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A sealed batch on its way to the disk, with what may be told once it is there.
struct ToDisk {
    batch: Option<Batch>,
    state: State,
    answers: Vec<(Answer, Outcome)>,
}

/// Gives calls to the writer and state to readers. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    ledger: LedgerReader,
}

impl Handle {
    /// Executes a call that no connection brought, in the name of this machine; comes back when its batch
    /// is on disk.
    ///
    /// # Errors
    ///
    /// As [`Handle::submit_for`].
    pub async fn submit(&self, call: Call) -> Result<Outcome, Unavailable> {
        let here = Asker::Address(Source::of(std::net::Ipv4Addr::LOCALHOST.into()));
        self.submit_for(here, call, Held::default()).await
    }

    /// Executes a call of this asker; comes back when its batch is on disk. `held` is the memory that
    /// the call's body takes.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the queue is full or the writer has stopped.
    pub async fn submit_for(&self, asker: Asker, call: Call, held: Held) -> Result<Outcome, Unavailable> {
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting { call, answer, held };
        let displaced = {
            let mut inbox = self.shared.inbox();
            if inbox.failed || inbox.stopping {
                return Err(Unavailable::Stopped);
            }
            match inbox.calls.offer(asker, waiting) {
                Offered::Waits => None,
                Offered::InPlaceOf(displaced) => Some(displaced),
                Offered::Refused(_) => return Err(Unavailable::QueueFull),
            }
        };
        self.shared.wake.notify_one();
        if let Some(displaced) = displaced {
            // A caller that hung up is not told.
            drop(displaced.answer.send(Err(Unavailable::QueueFull)));
        }
        outcome.await.unwrap_or(Err(Unavailable::Stopped))
    }

    /// The last signed and synced state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        let state = self.shared.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state)
    }

    /// Says of a transaction whether it is committed in the last synced state. It holds nothing
    /// alive: once everything has stopped, nothing is.
    pub fn history(&self) -> impl Fn(TxId) -> bool + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move |id| {
            shared.upgrade().is_some_and(|shared| {
                let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
                state.status_of(id) == TxStatus::Committed
            })
        }
    }

    /// Who runs the components.
    #[must_use]
    pub fn guests(&self) -> &Arc<dyn Guests> {
        &self.shared.guests
    }

    /// Entries on disk, for receipts.
    #[must_use]
    pub const fn ledger(&self) -> &LedgerReader {
        &self.ledger
    }

    /// Whether writing has failed for good: the node must be restarted.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.inbox().failed
    }

    /// Comes back when writing has failed for good.
    pub async fn failed(&self) {
        // Registered before the flag is read, so that a failure in between is not missed.
        let notified = self.shared.failure.notified();
        let mut notified = std::pin::pin!(notified);
        notified.as_mut().enable();
        if !self.has_failed() {
            notified.await;
        }
    }
}

/// The running threads.
pub struct Executor {
    shared: Arc<Shared>,
    writer: JoinHandle<()>,
    disk: JoinHandle<()>,
}

/// Starts writer and disk thread on a service whose first batch is on disk.
///
/// # Errors
///
/// If a thread cannot be started.
pub fn start(
    mut service: Service,
    files: LedgerFiles,
    guests: Arc<dyn Guests>,
    limits: QueueLimits,
    clock: Clock,
) -> std::io::Result<(Handle, Executor)> {
    service.limit_state(limits.state_bytes_max);
    let shared = Arc::new(Shared {
        inbox: Mutex::new(Inbox {
            calls: FairQueue::new(limits.queue_entries_max),
            disk_idle: true,
            stopping: false,
            failed: false,
        }),
        wake: Condvar::new(),
        state: RwLock::new(Arc::new(service.state())),
        guests,
        limits,
        failure: Notify::new(),
    });
    let handle = Handle {
        shared: Arc::clone(&shared),
        ledger: files.reader(),
    };
    let (to_disk, batches) = sync_channel(1);
    let for_writer = Arc::clone(&shared);
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || write(service, &for_writer, &clock, &to_disk))?;
    let for_disk = Arc::clone(&shared);
    let disk = std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || sync(files, &for_disk, &batches))?;
    let executor = Executor { shared, writer, disk };
    Ok((handle, executor))
}

impl Executor {
    /// Takes no further calls, finishes those that wait, ends the chunk and stops. Blocks.
    /// Gives whether everything that was executed is on disk.
    #[must_use]
    pub fn stop(self) -> bool {
        self.shared.inbox().stopping = true;
        self.shared.wake.notify_all();
        let clean = self.writer.join().is_ok() & self.disk.join().is_ok();
        clean && !self.shared.inbox().failed
    }
}

/// Marks the executor as failed if its thread ends by a panic: a service that cannot trust its
/// memory must not sign.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

/// The writer thread.
fn write(mut service: Service, shared: &Shared, clock: &Clock, to_disk: &SyncSender<ToDisk>) {
    let _guard = FailOnPanic(shared);
    let mut answers = Vec::new();
    loop {
        let (sealed, last) = match shared.next(answers.len(), service.batch_is_full()) {
            Next::Execute(Waiting { call, answer, held }) => {
                let outcome = service.execute(call, &*shared.guests);
                drop(held);
                if let Some(fault) = &outcome.fault {
                    tracing::warn!(tx = %outcome.tx, status = outcome.reply.status, "{fault}");
                }
                answers.push((answer, outcome));
                continue;
            }
            Next::Seal => (service.seal(clock.seconds()), false),
            Next::Stop if shared.inbox().failed => return,
            Next::Stop => (service.end_chunk(clock.seconds()), true),
        };
        let batch = match sealed {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!("the batch could not be signed, the node stops writing: {error}");
                return shared.fail();
            }
        };
        let job = ToDisk {
            batch,
            state: service.state(),
            answers: std::mem::take(&mut answers),
        };
        if to_disk.send(job).is_err() || last {
            return;
        }
    }
}

/// The disk thread.
fn sync(mut files: LedgerFiles, shared: &Shared, batches: &Receiver<ToDisk>) {
    let _guard = FailOnPanic(shared);
    for job in batches {
        if let Some(batch) = &job.batch
            && let Err(error) = files.append(batch)
        {
            report(&error);
            return shared.fail();
        }
        *shared.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(job.state);
        shared.inbox().disk_idle = true;
        shared.wake.notify_one();
        for (answer, outcome) in job.answers {
            // A caller that hung up is not told.
            drop(answer.send(Ok(outcome)));
        }
    }
}

fn report(error: &LedgerFilesError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(
        cause,
        "the ledger cannot be written, the node stops writing: {error}"
    );
}
