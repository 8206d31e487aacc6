//! `conduit admin prices`: what applies and from where, and updates of the price catalogue.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::admin::prices::{
    ChangeView, LONGEST, PricesView, ResetPrices, ShowPrices, TargetPrice, UpdatePrices,
    UpdateView, show,
};
use crate::catalogue::saved;
use crate::cli::{ConfigArg, Exit, Failure, environment, output, session};
use crate::config::{Secrets, load};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Prices {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
struct Show {
    /// The model as a client names it: shows every rate, at each place its calls could go
    /// [default: all models of the configuration, and whether they have a price]
    model: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Subcommand)]
enum Action {
    #[command(
        about = "Take prices from a file: LiteLLM's model_prices_and_context_window.json or \
                 models.dev's api.json",
        long_about = "Take prices from a file: LiteLLM's model_prices_and_context_window.json or \
                      models.dev's api.json.\n\nThey are in force at once, also in a server that \
                      runs, and go before the catalogue inside the program; a price in the \
                      configuration goes before them. Models whose figures cannot be read are named \
                      and cost what they did. Receipts stay as they are."
    )]
    Update(Update),
    /// Go back to the catalogue inside the program
    Reset(Reset),
}

#[derive(Debug, Args)]
struct Update {
    /// The file; `-` for standard input
    file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
struct Reset {
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

impl Prices {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        match self.action {
            None => self.show.run(),
            Some(Action::Update(update)) => update.run(),
            Some(Action::Reset(reset)) => reset.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let view = self.view()?;
        if self.json {
            return output::json(&view);
        }
        if let Some(trouble) = &view.trouble {
            output::note(&format!("warning: the price update is not in force: {trouble}"));
        }
        match &self.model {
            Some(_) => rates(&view),
            None => states(&view),
        }
    }

    /// From the server; where none runs, what one would have: without opening the store.
    fn view(&self) -> Result<PricesView, Failure> {
        let (file, paths) = session::places(&self.config)?;
        if let Some(client) = session::connect(&paths.socket)? {
            return Ok(client.send(&ShowPrices { model: self.model.clone() })?);
        }
        let loaded = load(&file, environment(), Secrets::Skip);
        let mut config = loaded.map_err(|problems| {
            Failure::new(Exit::Config, problems.render(output::is_error_terminal()))
        })?;
        config.prices = saved::prices(&config.store.path);
        Ok(show(&config, self.model.as_deref())?)
    }
}

/// One row for each place of each model.
fn states(view: &PricesView) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for model in &view.models {
        for target in &model.targets {
            rows.push(vec![
                model.model.clone(),
                target.provider.clone(),
                target.upstream_model.clone(),
                target.state.clone(),
                target.from.clone(),
            ]);
        }
    }
    output::table(&["Model", "Provider", "Asked for", "State", "From"], &rows, &[])?;
    let update = match &view.update {
        Some(update) => format!("{update} ({} models)", view.update_models),
        None => "none".to_owned(),
    };
    output::note(&format!("update: {update}; inside the program: {}", view.embedded));
    Ok(())
}

/// What applies at each place of one model, rate by rate.
fn rates(view: &PricesView) -> Result<(), Failure> {
    for target in view.models.iter().flat_map(|model| &model.targets) {
        output::answer(&facts(target))?;
        if target.rates.is_empty() {
            continue;
        }
        let rows = target.rates.iter().map(|rate| {
            vec![rate.what.clone(), rate.when.clone(), rate.usd.clone(), rate.per.clone()]
        });
        let rows: Vec<_> = rows.collect();
        output::table(&["What", "When", "USD", "Per"], &rows, &[2])?;
    }
    Ok(())
}

fn facts(target: &TargetPrice) -> String {
    let limit = |tokens: Option<u64>| {
        tokens.map_or_else(|| "not known".to_owned(), |tokens| format!("{tokens} tokens"))
    };
    let mut text = String::new();
    for (name, value) in [
        ("provider", target.provider.clone()),
        ("asked for", target.upstream_model.clone()),
        ("price", target.state.clone()),
        ("from", target.from.clone()),
        ("listed as", target.listed_as.clone().unwrap_or_else(|| "-".to_owned())),
        ("input", limit(target.max_input_tokens)),
        ("output", limit(target.max_output_tokens)),
    ] {
        let _ = writeln!(text, "{name:<10}{value}");
    }
    text
}

impl Update {
    fn run(self) -> Result<(), Failure> {
        let text = read(&self.file)?;
        let verb = UpdatePrices { text, dry_run: self.dry_run };
        let view = session::run(&self.config, verb)?;
        report(&view, self.json)
    }
}

impl Reset {
    fn run(self) -> Result<(), Failure> {
        let view = session::run(&self.config, ResetPrices { dry_run: self.dry_run })?;
        report(&view, self.json)
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("{} cannot be read: {error}", file.display()))
    };
    let mut text = String::new();
    let most = LONGEST as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin().take(most).read_to_string(&mut text).map_err(failed)?;
    } else {
        let file = std::fs::File::open(file).map_err(failed)?;
        file.take(most).read_to_string(&mut text).map_err(failed)?;
    }
    Ok(text)
}

/// One row for each model that changes or was not taken, and one for each reason to leave some out;
/// what it came to on standard error.
fn report(view: &UpdateView, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(view);
    }
    let mut rows = Vec::new();
    for (what, list) in
        [("added", &view.added), ("changed", &view.changed), ("removed", &view.removed)]
    {
        rows.extend(list.iter().map(|change| row(what, change)));
    }
    rows.extend(view.unreadable.iter().map(|refused| {
        vec!["unreadable".to_owned(), String::new(), refused.name.clone(), refused.reason.clone()]
    }));
    rows.extend(view.left_out.iter().map(|left| {
        vec!["left out".to_owned(), String::new(), left.count.to_string(), left.reason.clone()]
    }));
    output::table(&["Change", "Provider", "Model", "What"], &rows, &[])?;
    output::note(&format!(
        "{} added, {} changed, {} removed, {} as before, {} not taken",
        view.added.len(),
        view.changed.len(),
        view.removed.len(),
        view.unchanged,
        view.unreadable.len()
    ));
    output::note(&match (&view.update, view.dry_run) {
        (_, true) => "nothing was changed: this was to see what would be".to_owned(),
        (Some(update), false) => format!(
            "in force: {update}, {} models, kept in {}; receipts stay as they are",
            view.models,
            view.file.display()
        ),
        (None, false) => "in force: the catalogue inside the program".to_owned(),
    });
    Ok(())
}

fn row(what: &str, change: &ChangeView) -> Vec<String> {
    vec![what.to_owned(), change.provider.clone(), change.model.clone(), change.what.join(", ")]
}
