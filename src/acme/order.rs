//! One order, from an account with the authority to a certificate.

use std::fmt::Display;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ClientConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, Der, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use secrecy::ExposeSecret;

use super::folder::{self, Held};
use super::post;
use super::schedule::Kind;
use super::shelf::Shelf;
use crate::clock;
use crate::config::Acme;
use crate::config::certificate::Pair;
use crate::domain::window::Timestamp;

/// How long an authority may take to look at the names, and to make the certificate.
const POLLS: RetryPolicy = RetryPolicy::new().timeout(Duration::from_mins(2));
/// What an authority calls an account that it does not know (RFC 8555, section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

const NOT_HERE: &str = "the authority did not find the names here";

/// What came of an order, in PEM.
pub(super) struct Issued {
    pub(super) key: String,
    /// The certificate first.
    pub(super) chain: String,
}

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    pub(super) why: String,
}

impl Trouble {
    pub(super) const fn unreachable(why: String) -> Self {
        Self { kind: Kind::Unreachable, why }
    }

    /// Something is wrong on this machine.
    pub(super) const fn here(why: String) -> Self {
        Self { kind: Kind::Unreachable, why }
    }

    /// What went wrong while something was done.
    fn at<'a>(doing: impl Display + 'a) -> impl FnOnce(Error) -> Self + 'a {
        move |error| {
            let kind = match &error {
                Error::Api(problem) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                    Kind::NoAccount
                }
                Error::Api(_) => Kind::Refused,
                _ => Kind::Unreachable,
            };
            let said = match &error {
                Error::Api(problem) if problem.subproblems.is_empty() => problem.detail.clone(),
                _ => None,
            };
            let said = said.unwrap_or_else(|| error.to_string());
            Self { kind, why: format!("{doing}: {said}") }
        }
    }
}

/// Orders a certificate, in the place of the one `before` if that is named.
pub(super) async fn order(
    plan: &Acme,
    shelf: &Shelf,
    before: Option<&Held>,
    tls: &Arc<ClientConfig>,
) -> Result<Issued, Trouble> {
    with_account(plan, tls, async |account| {
        let names: Vec<_> = plan.names.iter().cloned().map(Identifier::Dns).collect();
        let mut wanted = NewOrder::new(&names);
        if let Some(identity) = before.and_then(|held| identity(&held.pair)) {
            wanted = wanted.replaces(identity);
        }
        let order = account.new_order(&wanted).await;
        let mut order = order.map_err(Trouble::at("the order was not taken"))?;
        show(&mut order, shelf).await?;
        match order.poll_ready(&POLLS).await {
            Ok(OrderStatus::Ready) => {}
            // What it says of the order does not say which name it is about.
            Ok(_) | Err(Error::Api(_)) => return Err(refusal(&mut order).await),
            Err(error) => return Err(Trouble::at(NOT_HERE)(error)),
        }
        let made = "the certificate was not made";
        let key = order.finalize().await.map_err(Trouble::at(made))?;
        let chain = order.poll_certificate(&POLLS).await.map_err(Trouble::at(made))?;
        Ok(Issued { key, chain })
    })
    .await
}

/// The window in which an authority wants a certificate replaced, and when to ask again.
pub(super) async fn advice(
    plan: &Acme,
    held: &Held,
    tls: &Arc<ClientConfig>,
) -> Result<((Timestamp, Timestamp), Duration), Trouble> {
    let none = || Trouble::here("the certificate does not say whose it is".to_owned());
    let identity = identity(&held.pair).ok_or_else(none)?;
    with_account(plan, tls, async |account| {
        let info = account.renewal_info(&identity).await;
        let (info, again) = info.map_err(Trouble::at("no advice"))?;
        let window = info.suggested_window;
        Ok(((clock::told(window.start), clock::told(window.end)), again))
    })
    .await
}

fn identity(pair: &Pair) -> Option<CertificateIdentifier<'static>> {
    let identity = pair.identity()?;
    let (key, serial) = (Der::from(identity.authority_key), Der::from(identity.serial));
    Some(CertificateIdentifier::new(key, serial).into_owned())
}

/// Does something with the account, while what is sent for it goes out.
async fn with_account<T>(
    plan: &Acme,
    tls: &Arc<ClientConfig>,
    work: impl AsyncFnOnce(Account) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let tls = match &plan.authority_file {
        None => Arc::clone(tls),
        Some(file) => Arc::new(believing(file).map_err(Trouble::here)?),
    };
    let (postman, errands) = post::client();
    let work = async {
        let builder = Account::builder_with_http(Box::new(postman));
        work(account(plan, builder).await?).await
    };
    tokio::select! {
        done = work => done,
        () = errands.run(tls) => Err(Trouble::unreachable("nobody is asked any more".to_owned())),
    }
}

/// The account that was kept, or a new one.
async fn account(plan: &Acme, builder: AccountBuilder) -> Result<Account, Trouble> {
    let failed = |error: Error| {
        let what = match &error {
            Error::Api(_) => "makes no account for us",
            _ => "does not answer as one",
        };
        Trouble::at(format!("the authority {} {what}", plan.directory))(error)
    };
    if let Some(kept) = folder::account(plan).map_err(Trouble::here)? {
        return builder.from_credentials(kept).await.map_err(failed);
    }
    let contact: Vec<_> = plan.contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        // The configuration is wrong where it does not say so.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let binding = binding(plan).map_err(Trouble::here)?;
    let made = builder.create(&wanted, plan.directory.clone(), binding.as_ref()).await;
    let (account, credentials) = made.map_err(failed)?;
    folder::keep_account(plan, &credentials).map_err(Trouble::here)?;
    Ok(account)
}

fn binding(plan: &Acme) -> Result<Option<ExternalAccountKey>, String> {
    let Some(binding) = &plan.binding else { return Ok(None) };
    let Some(key) = &binding.key else { return Ok(None) };
    let key = key.expose_secret().trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(key)
        .map_err(|_| "the key in `acme.eab_key_file` is not base64url".to_owned())?;
    Ok(Some(ExternalAccountKey::new(binding.key_id.clone(), &key)))
}

/// Believes those alone whom a file names.
fn believing(file: &std::path::Path) -> Result<ClientConfig, String> {
    let wrong = |why: String| format!("`acme.authority_file` {} {why}", file.display());
    let text = fs::read(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&text) {
        let root = root.map_err(|_| wrong("is not PEM".to_owned()))?;
        roots.add(root).map_err(|error| wrong(format!("cannot be used: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Has ready what the authority looks for behind each name, and tells it to look.
async fn show(order: &mut Order, shelf: &Shelf) -> Result<(), Trouble> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let asked = "the authority does not say what it wants to see";
        let mut authorization = authorization.map_err(Trouble::at(asked))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            let why = "the authority does not look at names over TLS (tls-alpn-01)".to_owned();
            return Err(Trouble { kind: Kind::Refused, why });
        };
        let name = challenge.identifier().to_string();
        let digest = challenge.key_authorization().digest();
        let shown = proof(&name, digest.as_ref()).map_err(Trouble::here)?;
        shelf.show(name.clone(), shown);
        let told = challenge.set_ready().await;
        told.map_err(Trouble::at(format!("{name} is not looked at")))?;
    }
    Ok(())
}

/// The certificate that proves who answers to a name (RFC 8737, section 3).
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, String> {
    let make = || -> Result<_, rcgen::Error> {
        let mut wanted = CertificateParams::new([name.to_owned()])?;
        wanted.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((wanted.self_signed(&key)?, key.serialize_der()))
    };
    let (certificate, key) = make().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let signer = any_supported_type(&key).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signer))
}

/// What the authority says of the names that it did not find to be ours.
async fn refusal(order: &mut Order) -> Trouble {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let name = state.identifier().to_string();
        for problem in state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            said.push(format!("{name}: {}", problem.detail.as_deref().unwrap_or("refused")));
        }
    }
    if said.is_empty() {
        said.push("it does not say why".to_owned());
    }
    let why = format!("{NOT_HERE}: {}", said.join("; "));
    Trouble { kind: Kind::Refused, why }
}
