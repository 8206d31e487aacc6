//! Which path leads where on the gateway's listener. Everything else is a 404 in OpenAI's shape.

use actix_web::web::{self, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::{Edge, answer, info, serve};
use crate::error::ApiError;
use crate::provider::endpoint::Endpoint;

/// OpenAI's paths, which many clients also use without the version.
const PREFIXES: [&str; 2] = ["/v1", ""];

/// The endpoints that are served below those.
const OPENAI: [Endpoint; 4] =
    [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Moderations];

/// The routes of the gateway.
pub fn routes(config: &mut web::ServiceConfig) {
    for prefix in PREFIXES {
        for endpoint in OPENAI {
            let call = move |edge: Data<Edge>, head: HttpRequest, payload: Payload| async move {
                answer(&head, async |id| serve(&edge, endpoint, id, &head, payload).await).await
            };
            let path = format!("{prefix}/{}", endpoint.name());
            config.service(
                web::resource(path).route(web::post().to(call)).default_service(only("POST")),
            );
        }
        get(config, &format!("{prefix}/models"), info::models);
        get(config, &format!("{prefix}/models/{{model:.+}}"), info::model);
        get(config, &format!("{prefix}/key"), info::key);
    }
    for path in ["/healthz", "/health", "/health/liveliness", "/health/liveness"] {
        get(config, path, info::healthz);
    }
    for path in ["/readyz", "/health/readiness"] {
        get(config, path, info::readyz);
    }
    config.default_service(web::to(no_such_path));
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

/// Refuses every other method of a path.
fn only(allowed: &'static str) -> actix_web::Route {
    web::to(move |head: HttpRequest| async move {
        answer(&head, async |_| Err(ApiError::Method { allowed })).await
    })
}

async fn no_such_path(head: HttpRequest) -> HttpResponse {
    let error =
        ApiError::NoSuchPath { method: head.method().to_string(), path: head.path().to_owned() };
    answer(&head, async |_| Err(error)).await
}
