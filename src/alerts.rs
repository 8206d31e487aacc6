//! Tells people that a key or a team comes near its limits: a line in the log, and a signed message to a
//! webhook.
//!
//! A call never waits for any of this: what does not fit into the queue is only logged.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use awc::{Client, Connector};
use ring::hmac;
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::config::{Live, Webhook};
use crate::domain::key::KeyId;
use crate::domain::money::Money;
use crate::domain::team::TeamId;
use crate::domain::window::{Period, Timestamp};

/// How many messages may wait for a webhook that is slow.
const QUEUE: usize = 1024;
/// The pauses between tries.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
];
/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose limit an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Subject {
    Key { key_id: KeyId, key_name: String },
    Team { team_id: TeamId, team_name: String },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key_id, .. } => key_id.fmt(f),
            Self::Team { team_id, .. } => team_id.fmt(f),
        }
    }
}

/// A share of a limit has been spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    #[serde(flatten)]
    pub subject: Subject,
    pub period: Period,
    /// Which of the configured hundredths was passed.
    pub percent: u64,
    pub spent_usd: Money,
    pub limit_usd: Money,
    pub resets_at: Timestamp,
    pub at: Timestamp,
}

/// The end that the ledger holds.
#[derive(Clone, Debug)]
pub struct Alarm(Sender<Alert>);

/// The end that messages are sent from.
pub struct Alerts(Receiver<Alert>);

/// A queue for alerts.
pub fn queue() -> (Alarm, Alerts) {
    let (sender, receiver) = channel(QUEUE);
    (Alarm(sender), Alerts(receiver))
}

impl Alarm {
    /// How many alerts wait to be sent.
    pub fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// Logs the alert and leaves it to be sent; never waits.
    pub fn raise(&self, alert: Alert) {
        let (mut key, mut team) = (None, None);
        match &alert.subject {
            Subject::Key { key_id, key_name } => key = Some((key_id.to_string(), key_name)),
            Subject::Team { team_id, team_name } => team = Some((team_id.to_string(), team_name)),
        }
        tracing::warn!(
            key.id = key.as_ref().map(|(id, _)| id),
            key.name = key.as_ref().map(|(_, name)| name),
            team.id = team.as_ref().map(|(id, _)| id),
            team.name = team.as_ref().map(|(_, name)| name),
            period = alert.period.name(),
            percent = alert.percent,
            spent_usd = %alert.spent_usd,
            limit_usd = %alert.limit_usd,
            resets_at = %alert.resets_at,
            "a share of a limit has been spent"
        );
        if self.0.try_send(alert).is_err() {
            tracing::warn!("too many alerts wait for the webhook: this one is only logged");
        }
    }
}

impl Alerts {
    /// Sends what comes to the webhook that the configuration names by then, one after the other.
    pub async fn deliver(mut self, live: &Live, tls: Arc<rustls::ClientConfig>) {
        let connector = Connector::new().rustls_0_23(tls);
        let client = Client::builder().connector(connector).disable_redirects().finish();
        while let Some(alert) = self.0.recv().await {
            let webhook = live.load().config.alerts.webhook.clone();
            if let Some(webhook) = webhook {
                send(&client, &webhook, &alert).await;
            }
        }
    }
}

/// Sends one message until it is taken or patience is at its end.
async fn send(client: &Client, webhook: &Webhook, alert: &Alert) {
    // Numbers and texts always have a JSON form.
    let body = serde_json::to_string(alert).unwrap_or_default();
    for pause in PAUSES.iter().map(Some).chain([None]) {
        let problem = match post(client, webhook, body.clone()).await {
            Ok(()) => return,
            Err(problem) => problem,
        };
        if let Some(pause) = pause {
            tokio::time::sleep(*pause).await;
        } else {
            tracing::error!(subject = %alert.subject, "the webhook did not take an alert: {problem}");
        }
    }
}

async fn post(client: &Client, webhook: &Webhook, body: String) -> Result<(), String> {
    let mut request = client
        .post(&webhook.url)
        .timeout(PATIENCE)
        .content_type("application/json")
        .insert_header(("user-agent", concat!("conduit/", env!("CARGO_PKG_VERSION"))));
    if let Some(secret) = &webhook.secret {
        let signature = sign(secret.expose_secret(), body.as_bytes());
        request = request.insert_header(("x-conduit-signature", signature));
    }
    let answer = request.send_body(body).await.map_err(|error| error.to_string())?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("it answered {}", answer.status()))
    }
}

/// `sha256=` and the HMAC-SHA256 of the body, in hexadecimal: the form that receivers know.
fn sign(secret: &str, body: &[u8]) -> String {
    use std::fmt::Write;

    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(&key, body).as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_published_one() {
        // RFC 4231, section 4.3.
        assert_eq!(
            sign("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_full_queue_holds_nobody_up() {
        let (alarm, _alerts) = queue();
        let alert = Alert {
            subject: Subject::Key { key_id: KeyId::from_bits(1), key_name: "ci".into() },
            period: Period::Daily,
            percent: 80,
            spent_usd: Money::from_nano(8),
            limit_usd: Money::from_nano(10),
            resets_at: Timestamp::MAX,
            at: Timestamp::MIN,
        };
        for _ in 0..=QUEUE {
            alarm.raise(alert.clone());
        }
    }
}
