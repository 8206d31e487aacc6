//! The configuration in force, and its replacement while calls run.
//!
//! A file is read and checked as a whole and then swapped as a whole; a call keeps the snapshot it
//! began with. A bad file must never come into force: the last good one stays, and why is kept for
//! the log, for readiness and for the administrator.

mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

pub use self::watch::{Watch, WatchError};
use super::certificate::Certificate;
use super::check::{Secrets, check};
use super::model::Config;
use super::problem::{Problem, Problems};
use super::read;
use crate::catalogue::Prices;
use crate::domain::window::Timestamp;

/// A configuration that is or was in force.
#[derive(Debug)]
pub struct Snapshot {
    pub config: Config,
    /// Counts from 1, one up with each change.
    pub generation: u64,
    pub loaded_at: Timestamp,
    /// Of the file's text.
    pub digest: blake3::Hash,
    /// Options in which the file differs from what is in force until a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Snapshot {
    /// Tells the log what administrators should know although it is in force.
    pub fn warn(&self) {
        for warning in self.config.certificates().filter_map(|one| one.warning(self.loaded_at)) {
            tracing::warn!("{warning}");
        }
        if let Some(tracing) = self.config.tracing.as_ref().filter(|one| one.capture_content) {
            tracing::warn!(
                endpoint = tracing.url,
                "prompts and answers are sent to the collector of traces: `tracing.capture_content` is on"
            );
        }
    }
}

/// Why the file as it is now is not in force.
#[derive(Clone, Debug)]
pub struct FailedReload {
    pub problems: Problems,
    pub at: Timestamp,
}

/// What a reload came to.
#[derive(Debug)]
pub enum Reload {
    /// The text is the one that was read last.
    Unchanged,
    /// A new configuration is in force.
    Changed(Arc<Snapshot>),
    /// The last good one stays in force.
    Kept(Arc<FailedReload>),
}

/// Where a configuration comes from.
pub struct Source {
    pub path: PathBuf,
    /// Reads a variable: `process_environment`, unless a test says otherwise.
    pub environment: Variables,
    pub clock: fn() -> Timestamp,
}

/// The environment, as a function from a variable's name to its value.
pub type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

type Hook = Box<dyn Fn(&Arc<Snapshot>) + Send>;

/// How far a reload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A file is about to be checked.
    Begins,
    /// A configuration is in force, the new one or the last good one.
    Ended,
}

type Observer = Box<dyn Fn(Stage) + Send>;

/// The configuration in force.
pub struct Live {
    source: Source,
    opened_at: Timestamp,
    current: ArcSwap<Snapshot>,
    failed: ArcSwapOption<FailedReload>,
    /// One reload at a time.
    reloading: Mutex<Reloading>,
    /// Wakes the thread that watches the file.
    wake: Mutex<Option<watch::Waker>>,
}

struct Reloading {
    /// Of the text that was read last, good or bad.
    last_digest: Option<blake3::Hash>,
    on_change: Option<Hook>,
    on_reload: Option<Observer>,
}

impl Reloading {
    fn tell(&self, stage: Stage) {
        if let Some(observer) = &self.on_reload {
            observer(stage);
        }
    }
}

impl Live {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn open(source: Source) -> Result<Arc<Self>, Problems> {
        let text = read(&source.path)?;
        let config = check(&source.path, &text, &*source.environment, Secrets::Read)?;
        let digest = blake3::hash(text.as_bytes());
        let snapshot = Snapshot {
            config,
            generation: 1,
            loaded_at: (source.clock)(),
            digest,
            needs_restart: Vec::new(),
        };
        Ok(Arc::new(Self {
            opened_at: snapshot.loaded_at,
            source,
            current: ArcSwap::from_pointee(snapshot),
            failed: ArcSwapOption::empty(),
            reloading: Mutex::new(Reloading {
                last_digest: Some(digest),
                on_change: None,
                on_reload: None,
            }),
            wake: Mutex::new(None),
        }))
    }

    /// What is in force, for a moment: a call that lives longer takes [`Live::snapshot`].
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Why the file as it is now is not in force; `None` if it is.
    pub fn failed(&self) -> Option<Arc<FailedReload>> {
        self.failed.load_full()
    }

    /// When the file was read for the first time: the start of the program.
    pub const fn opened_at(&self) -> Timestamp {
        self.opened_at
    }

    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Puts other prices in force. Calls under way keep those they began with, and so does what they
    /// leave behind; a reload of the file keeps the prices.
    pub fn set_prices(&self, prices: Arc<Prices>) {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.current.load();
        self.current.store(Arc::new(Snapshot {
            config: Config { prices, ..running.config.clone() },
            generation: running.generation,
            loaded_at: running.loaded_at,
            digest: running.digest,
            needs_restart: running.needs_restart.clone(),
        }));
    }

    /// Calls `hook` after each change with what is in force from then on. The hook must not reload.
    pub fn on_change(&self, hook: impl Fn(&Arc<Snapshot>) + Send + 'static) {
        let mut reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        reloading.on_change = Some(Box::new(hook));
    }

    /// Calls `observer` before and after each reload, whatever it comes to. It must not reload.
    pub fn on_reload(&self, observer: impl Fn(Stage) + Send + 'static) {
        let mut reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        reloading.on_reload = Some(Box::new(observer));
    }

    /// Asks the watching thread to read the file again, and the keys it names, even if its text is
    /// the same: for a signal handler. `false` where there is no such thread.
    pub fn trigger(&self) -> bool {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        wake.as_ref().is_some_and(watch::Waker::reload)
    }

    /// Follows the file on a thread of its own until the [`Watch`] is dropped.
    ///
    /// # Errors
    /// If the thread cannot be started, or the system cannot tell about changes of the file's
    /// folder; [`Live::reload`] works all the same.
    pub fn watch(self: &Arc<Self>) -> Result<Watch, WatchError> {
        let (watch, waker) = watch::start(Arc::clone(self))?;
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
        Ok(watch)
    }

    /// Reads the file, and puts it in force if it is good, even if its text is the same: the keys
    /// that it names may have changed.
    pub fn reload(&self) -> Reload {
        self.apply(read(&self.source.path), true)
    }

    /// Puts `text` in force if it is good; unless `forced`, not when it is what was read last.
    fn apply(&self, text: Result<String, Problems>, forced: bool) -> Reload {
        let mut reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = text.as_ref().ok().map(|text| blake3::hash(text.as_bytes()));
        // After a failure the text may be the same and what it names mended.
        let unchanged = digest.is_some()
            && digest == reloading.last_digest
            && self.current.load().config.certificates().all(Certificate::is_current);
        if !forced && unchanged && self.failed.load().is_none() {
            return Reload::Unchanged;
        }
        reloading.last_digest = digest;
        reloading.tell(Stage::Begins);
        let outcome = self.put_in_force(text, &reloading);
        reloading.tell(Stage::Ended);
        outcome
    }

    fn put_in_force(&self, text: Result<String, Problems>, reloading: &Reloading) -> Reload {
        let checked = text.and_then(|text| {
            let config = check(&self.source.path, &text, &*self.source.environment, Secrets::Read)?;
            let now = (self.source.clock)();
            if let Some(message) = config.step_back(&self.current.load().config, now) {
                let name = self.source.path.display().to_string();
                return Err(Problems::new(name, &text, &[], vec![Problem::nowhere(message)]));
            }
            Ok((config, blake3::hash(text.as_bytes())))
        });
        match checked {
            Ok((config, digest)) => {
                let snapshot = self.swap(config, digest);
                if let Some(hook) = &reloading.on_change {
                    hook(&snapshot);
                }
                Reload::Changed(snapshot)
            }
            Err(problems) => Reload::Kept(self.keep(problems)),
        }
    }

    fn swap(&self, mut config: Config, digest: blake3::Hash) -> Arc<Snapshot> {
        let running = self.current.load();
        let needs_restart = config.keep_until_restart(&running.config);
        config.prices = Arc::clone(&running.config.prices);
        let snapshot = Arc::new(Snapshot {
            config,
            generation: running.generation + 1,
            loaded_at: (self.source.clock)(),
            digest,
            needs_restart,
        });
        self.current.store(Arc::clone(&snapshot));
        self.failed.store(None);
        let (file, generation) = (self.source.path.display(), snapshot.generation);
        tracing::info!(config.file = %file, config.generation = generation, "config reloaded");
        snapshot.warn();
        if !snapshot.needs_restart.is_empty() {
            let options = snapshot.needs_restart.join(", ");
            tracing::warn!(
                config.file = %file,
                config.options = options,
                "these options change only with a restart: the old values stay in force"
            );
        }
        snapshot
    }

    fn keep(&self, problems: Problems) -> Arc<FailedReload> {
        if let Some(before) = self.failed().filter(|before| before.problems == problems) {
            return before;
        }
        let lines = problems.lines().collect::<Vec<_>>().join("; ");
        let failed = Arc::new(FailedReload { problems, at: (self.source.clock)() });
        self.failed.store(Some(Arc::clone(&failed)));
        tracing::error!(
            config.file = %self.source.path.display(),
            config.problems = lines,
            "config not reloaded: the last good one stays in force"
        );
        failed
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("path", &self.source.path).finish_non_exhaustive()
    }
}
