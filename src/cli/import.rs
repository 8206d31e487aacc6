//! `conduit import`: makes a configuration and keys of what another gateway has, and says what could not
//! be carried over.
//!
//! Nothing that is there is ever overwritten: a configuration, a file for a provider's key or a key of
//! the same name stays as it is.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::session::Session;
use super::{ConfigArg, Exit, Failure, environment, output};
use crate::admin::keys::{CreateKey, SetDisabled};
use crate::clock;
use crate::config::{Secrets, check};
use crate::import::{self, ImportError, Lost, Plan, PlannedKey};

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// From LiteLLM: its config.yaml, and its keys from /key/list or a CSV table
    Litellm(Litellm),
    /// From One API or New API: their SQLite database, or their channels and tokens as JSON
    OneApi(OneApi),
}

#[derive(Debug, Args)]
pub(super) struct Litellm {
    /// LiteLLM's configuration
    yaml: PathBuf,
    /// Its keys: JSON from `/key/list?return_full_object=true`, or CSV
    keys: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct OneApi {
    /// one-api.db, or JSON with `channels` and `tokens`
    file: PathBuf,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Where the configuration goes; nothing may be there yet
    #[arg(long, value_name = "FILE", default_value = "conduit.toml")]
    out: PathBuf,
    /// Write nothing and make no keys: print the configuration, and the report
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON, for programs
    #[arg(long)]
    json: bool,
    /// The gateway that gets the keys, by its configuration [default: the one that is written]
    #[command(flatten)]
    config: ConfigArg,
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Litellm(Litellm { yaml, keys, how }) => {
                let mut plan = import::litellm(&name(&yaml), &text(&yaml)?, environment())?;
                if let Some(keys) = keys {
                    let found = import::litellm_keys(&name(&keys), &text(&keys)?, clock::now())?;
                    plan.keys = found.0;
                    plan.lost.extend(found.1);
                }
                carry_out(plan, &how)
            }
            Self::OneApi(OneApi { file, how }) => {
                refuse_open_log(&file)?;
                let plan = import::one_api(&name(&file), &bytes(&file)?, clock::now())?;
                carry_out(plan, &how)
            }
        }
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| {
        let message = format!("{} cannot be read: {error}", file.display());
        Failure::new(Exit::Failed, message)
    })
}

fn text(file: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(bytes(file)?);
    text.map_err(|_| Failure::new(Exit::Usage, format!("{} is not text", file.display())))
}

/// The newest rows of a database that is in use may be in its log.
fn refuse_open_log(file: &Path) -> Result<(), Failure> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let has_rows = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    if !has_rows {
        return Ok(());
    }
    let message = format!(
        "{} has rows that are not in the database yet: stop the other program first, or copy the \
         database with `sqlite3 {} \".backup copy.db\"`",
        Path::new(&log).display(),
        file.display()
    );
    Err(Failure::new(Exit::Failed, message))
}

#[derive(Debug, Serialize)]
struct Report {
    /// Where the configuration was written; absent where nothing was.
    config: Option<String>,
    providers: usize,
    models: usize,
    /// What must be set in the environment of the gateway.
    variables: Vec<String>,
    /// Files with providers' keys.
    secret_files: Vec<String>,
    keys: Vec<Made>,
    not_carried_over: Vec<Lost>,
}

/// A key that was made, or would be.
#[derive(Debug, Serialize)]
struct Made {
    name: String,
    from: String,
    /// Shown only this once.
    secret: Option<String>,
}

fn carry_out(mut plan: Plan, how: &How) -> Result<(), Failure> {
    check(&how.out, &plan.config, environment(), Secrets::Skip).map_err(|problems| {
        let message = format!(
            "what was found makes no good configuration; nothing was written:\n{}",
            problems.render(false)
        );
        Failure::new(Exit::Config, message)
    })?;
    let folder = how.out.parent().unwrap_or(Path::new("")).join("credentials");
    let secret_files: Vec<PathBuf> =
        plan.secrets.iter().map(|(name, _)| folder.join(name)).collect();
    let keys = std::mem::take(&mut plan.keys);
    let made = if how.dry_run {
        let planned = keys.into_iter();
        planned.map(|key| Made { name: key.name, from: key.place, secret: None }).collect()
    } else {
        write(&plan, &how.out, &folder, &secret_files)?;
        make(keys, how, &mut plan.lost)?
    };
    let report = Report {
        config: (!how.dry_run).then(|| how.out.display().to_string()),
        providers: plan.providers,
        models: plan.models,
        variables: plan.variables,
        secret_files: secret_files.iter().map(|file| file.display().to_string()).collect(),
        keys: made,
        not_carried_over: plan.lost,
    };
    if how.json {
        return output::json(&report);
    }
    tell(&report, how.dry_run.then_some(plan.config.as_str()))
}

/// Writes everything, or nothing where something is in the way.
fn write(plan: &Plan, out: &Path, folder: &Path, files: &[PathBuf]) -> Result<(), Failure> {
    let taken = std::iter::once(out).chain(files.iter().map(PathBuf::as_path));
    if let Some(taken) = taken.into_iter().find(|file| file.exists()) {
        let message = format!(
            "{} is there already and is not overwritten: choose another place with --out",
            taken.display()
        );
        return Err(Failure::new(Exit::Conflict, message));
    }
    let failed = |file: &Path, error: &std::io::Error| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {error}", file.display()))
    };
    if !files.is_empty() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(|error| failed(folder, &error))?;
    }
    let secrets = files.iter().map(PathBuf::as_path).zip(plan.secrets.iter().map(|(_, s)| s));
    for (file, content) in secrets.chain([(out, &plan.config)]) {
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(file);
        let written = made.and_then(|mut made| made.write_all(content.as_bytes()));
        written.map_err(|error| failed(file, &error))?;
    }
    Ok(())
}

/// Makes the keys, in the gateway that runs or in its store.
fn make(keys: Vec<PlannedKey>, how: &How, lost: &mut Vec<Lost>) -> Result<Vec<Made>, Failure> {
    let mut made = Vec::new();
    if keys.is_empty() {
        return Ok(made);
    }
    let config = match how.config.config {
        Some(_) => how.config.clone(),
        None => ConfigArg { config: Some(how.out.clone()) },
    };
    let mut session = Session::open(&config)?;
    for key in keys {
        let (name, from, disabled) = (key.name.clone(), key.place.clone(), key.disabled);
        match session.run(asked(key)) {
            Ok(new) => {
                made.push(Made { name: name.clone(), from, secret: Some(new.secret) });
            }
            Err(failure) if failure.exit == Exit::Conflict || failure.exit == Exit::Usage => {
                lost.push(Lost { place: from, why: failure.message });
                continue;
            }
            Err(failure) => return Err(failure),
        }
        if disabled {
            let change = SetDisabled { key: name, disabled: true };
            session.run(change)?;
        }
    }
    Ok(made)
}

fn asked(key: PlannedKey) -> CreateKey {
    CreateKey {
        name: key.name,
        limits: key.limits,
        expires_at: key.expires_at,
        models: key.models,
        tags: key.tags,
        rpm: key.rpm,
        tpm: key.tpm,
        parallel: key.parallel,
        allow_ips: key.allow_ips,
        ..CreateKey::default()
    }
}

/// The answer is what a program needs: the configuration of a dry run, or the new secrets. All else is
/// for people.
fn tell(report: &Report, dry: Option<&str>) -> Result<(), Failure> {
    match (&report.config, dry) {
        (_, Some(config)) => output::answer(config)?,
        (Some(file), None) => output::note(&format!(
            "wrote {file}: {} providers, {} models",
            report.providers, report.models
        )),
        (None, None) => {}
    }
    for file in &report.secret_files {
        output::note(&format!("a provider's key is in {file}"));
    }
    if !report.variables.is_empty() {
        output::note(&format!("to be set in the environment: {}", report.variables.join(", ")));
    }
    if dry.is_none() {
        for key in &report.keys {
            let secret = key.secret.as_deref().unwrap_or_default();
            output::answer(&format!("{}\t{secret}\n", key.name))?;
        }
        if !report.keys.is_empty() {
            output::note("these are the new keys and their secrets, shown only this once");
        }
    } else {
        for key in &report.keys {
            output::note(&format!("a key `{}` would be made ({})", key.name, key.from));
        }
    }
    if report.not_carried_over.is_empty() {
        output::note("everything was carried over");
    } else {
        output::note("not carried over, or not exactly:");
    }
    for lost in &report.not_carried_over {
        output::note(&format!("  {}: {}", lost.place, lost.why));
    }
    Ok(())
}
