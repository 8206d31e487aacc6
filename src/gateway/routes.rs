//! Which path leads where on the gateway's listener. Everything else is a 404 in the dialect of the
//! path.

use actix_web::http::Method;
use actix_web::web::{self, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, Route};

use super::entry::{AZURE_DEPLOYMENTS, Entry, GOOGLE_COLLECTIONS, GOOGLE_VERSIONS, no_such_path};
use super::{Edge, answer, info, models, serve};
use crate::error::ApiError;
use crate::provider::endpoint::{Dialect, Endpoint};

/// `OpenAI`'s paths, which many clients also use without the version, and the same as Azure has them.
const OPENAI: [&str; 4] = ["/v1", "", "/openai/v1", "/openai"];
/// Anthropic's, and the same below a name, for clients that are given one address for each dialect.
const ANTHROPIC: [&str; 2] = ["/v1", "/anthropic/v1"];

/// The routes of the gateway.
pub fn routes(config: &mut web::ServiceConfig) {
    for endpoint in Endpoint::ALL {
        let prefixes: &[&str] = match endpoint.dialect() {
            Dialect::OpenAi => &OPENAI,
            Dialect::Anthropic => &ANTHROPIC,
            // Their methods stand behind a model.
            Dialect::Gemini | Dialect::Bedrock => &[],
        };
        for prefix in prefixes {
            let path = format!("{prefix}/{}", endpoint.name());
            config.service(web::resource(path).route(plain(endpoint)));
        }
        if endpoint.dialect() == Dialect::OpenAi {
            let path = format!("{AZURE_DEPLOYMENTS}{{deployment}}/{}", endpoint.name());
            config.service(web::resource(path).route(deployment(endpoint)));
        }
    }
    // As Cohere's clients have it.
    config.service(web::resource("/v2/rerank").route(plain(Endpoint::Rerank)));
    for prefix in OPENAI.into_iter().chain(ANTHROPIC).filter(|prefix| *prefix != "/v1") {
        config.service(models_of(&format!("{prefix}/models")));
        config.service(model_of(&format!("{prefix}/models/{{model:.+}}")));
    }
    for version in GOOGLE_VERSIONS {
        for collection in GOOGLE_COLLECTIONS {
            let path = format!("{version}/{collection}");
            config.service(models_of(&path));
            let model = model_of(&format!("{path}/{{model:.+}}"));
            config.service(model.route(web::post().to(method)));
        }
    }
    for prefix in ["/v1", ""] {
        get(config, &format!("{prefix}/key"), info::key);
    }
    for path in ["/healthz", "/health", "/health/liveliness", "/health/liveness"] {
        get(config, path, info::healthz);
    }
    for path in ["/readyz", "/health/readiness"] {
        get(config, path, info::readyz);
    }
    config.default_service(web::to(no_path));
}

/// Calls to an endpoint whose model is in the body.
fn plain(endpoint: Endpoint) -> Route {
    web::to(move |edge: Data<Edge>, head: HttpRequest, payload: Payload| async move {
        let entry = check_posted(&head).map(|()| Entry::plain(endpoint, &head));
        answer(&head, async |id| serve(&edge, entry?, id, &head, payload).await).await
    })
}

/// Calls to an endpoint of a deployment of Azure's.
fn deployment(endpoint: Endpoint) -> Route {
    web::to(move |edge: Data<Edge>, head: HttpRequest, payload: Payload| async move {
        let entry = check_posted(&head).and_then(|()| Entry::of_deployment(endpoint, &head));
        answer(&head, async |id| serve(&edge, entry?, id, &head, payload).await).await
    })
}

/// Calls to a method of a model of Google's.
async fn method(edge: Data<Edge>, head: HttpRequest, payload: Payload) -> HttpResponse {
    let entry = Entry::of_method(&head);
    answer(&head, async |id| serve(&edge, entry?, id, &head, payload).await).await
}

/// Calls are posted. A guard of the route's that said so would cost each of them more than it takes to find
/// the route.
fn check_posted(head: &HttpRequest) -> Result<(), ApiError> {
    if head.method() == Method::POST { Ok(()) } else { Err(ApiError::Method { allowed: "POST" }) }
}

fn get(
    config: &mut web::ServiceConfig,
    path: &str,
    show: fn(&Edge, &HttpRequest) -> Result<HttpResponse, ApiError>,
) {
    let handler = move |edge: Data<Edge>, head: HttpRequest| async move {
        answer(&head, async |_| show(&edge, &head)).await
    };
    let resource = web::resource(path).route(web::get().to(handler)).route(web::head().to(handler));
    config.service(resource.default_service(only("GET")));
}

/// The models that a key may use.
fn models_of(path: &str) -> actix_web::Resource {
    let handler = async |edge: Data<Edge>, head: HttpRequest| {
        answer(&head, async |_| models::list(&edge, &head).await).await
    };
    let resource = web::resource(path).route(web::get().to(handler)).route(web::head().to(handler));
    resource.default_service(only("GET"))
}

/// One of them.
fn model_of(path: &str) -> actix_web::Resource {
    let handler = async |edge: Data<Edge>, head: HttpRequest| {
        answer(&head, async |_| models::one(&edge, &head)).await
    };
    let resource = web::resource(path).route(web::get().to(handler)).route(web::head().to(handler));
    resource.default_service(only("GET"))
}

/// Refuses every other method of a path.
fn only(allowed: &'static str) -> Route {
    web::to(move |head: HttpRequest| async move {
        answer(&head, async |_| Err(ApiError::Method { allowed })).await
    })
}

async fn no_path(head: HttpRequest) -> HttpResponse {
    let error = no_such_path(&head);
    answer(&head, async |_| Err(error)).await
}
