//! A `thread_pool`: operating system threads that run jobs from a bounded queue.
//!
//! The threads start when there is work for them and stay until the process ends. Jobs never touch the event loop;
//! whoever submits one learns of its end by what the job itself sends.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What a thread runs.
pub type Job = Box<dyn FnOnce() + Send>;

/// Stack of a thread: as much as a process has for its first one.
const STACK_SIZE: usize = 8 * 1024 * 1024;

/// Why a job was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many jobs wait as may wait.
    #[error("queue overflow: {waiting} tasks waiting")]
    Overflow {
        /// How many that is.
        waiting: usize,
    },
    /// The system gave no thread.
    #[error("pthread_create() failed: {0}")]
    Spawn(#[from] std::io::Error),
}

/// A pool of threads with one queue.
#[derive(Debug)]
pub struct ThreadPool {
    threads: usize,
    max_queue: usize,
    shared: Arc<Shared>,
}

impl ThreadPool {
    /// A pool of at most `threads` threads, for which at most `max_queue` jobs wait.
    pub fn new(threads: usize, max_queue: usize) -> Self {
        Self { threads, max_queue, shared: Arc::default() }
    }

    /// Gives a job to the next thread that is free.
    pub fn submit(&self, job: Job) -> Result<(), SubmitError> {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= self.max_queue {
            return Err(SubmitError::Overflow { waiting: queue.jobs.len() });
        }
        if queue.idle <= queue.jobs.len() && queue.started < self.threads {
            let shared = Arc::clone(&self.shared);
            std::thread::Builder::new().stack_size(STACK_SIZE).spawn(move || shared.serve())?;
            queue.started += 1;
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.arrived.notify_one();
        Ok(())
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    started: usize,
    idle: usize,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.jobs.len()).field("started", &self.started).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Shared {
    /// Jobs run outside of the lock, so a panic in one leaves the queue as it is.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.lock();
            } else {
                queue.idle += 1;
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{SubmitError, ThreadPool};

    #[test]
    fn jobs_run_on_other_threads() {
        let pool = ThreadPool::new(2, 8);
        let (sender, receiver) = mpsc::channel();
        for number in 0..4 {
            let sender = sender.clone();
            pool.submit(Box::new(move || sender.send((number, std::thread::current().id())).unwrap())).unwrap();
        }
        let mut seen: Vec<_> = receiver.iter().take(4).collect();
        seen.sort_by_key(|(number, _)| *number);
        assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(seen.iter().all(|(_, id)| *id != std::thread::current().id()));
    }

    #[test]
    fn full_queue_refuses_one_job_more() {
        let pool = ThreadPool::new(1, 1);
        let (started, has_started) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        pool.submit(Box::new(move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        }))
        .unwrap();
        has_started.recv().unwrap();
        pool.submit(Box::new(|| {})).unwrap();
        assert!(matches!(pool.submit(Box::new(|| {})), Err(SubmitError::Overflow { waiting: 1 })));
        release.send(()).unwrap();
    }
}
