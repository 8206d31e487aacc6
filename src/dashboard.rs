//! The dashboard: files of our own that are part of the program, served on the admin listener. They
//! say nothing about anybody: whatever is secret comes from the admin API, which asks who is there.
//! Never a file of another host, never a script or a style that is not one of these files.

use std::sync::LazyLock;

use actix_web::http::header::Header as _;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, EntityTag, HeaderName, IF_NONE_MATCH, IfNoneMatch,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::web::{self, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

/// What a page may load: its own files and nothing else. Nothing inline, no frame around it, no form
/// that leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Asks the server each time whether a file is still the same, so that what a browser has kept never
/// meets a server of another version.
const ASK_AGAIN: &str = "no-cache";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const DRAWING: &str = "image/svg+xml";

/// A file of the dashboard.
struct File {
    /// Its path below `/assets/`.
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! file {
    ($path:literal, $content_type:ident) => {
        File {
            path: $path,
            content_type: $content_type,
            bytes: include_bytes!(concat!("dashboard/", $path)),
        }
    };
}

/// The page itself, and what it loads.
const INDEX: File = file!("index.html", HTML);
const ASSETS: [File; 29] = [
    file!("api.js", SCRIPT),
    file!("app.css", STYLE),
    file!("app.js", SCRIPT),
    file!("chart.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("icon.svg", DRAWING),
    file!("page.js", SCRIPT),
    file!("pages/audit.js", SCRIPT),
    file!("pages/config.js", SCRIPT),
    file!("pages/key-form.js", SCRIPT),
    file!("pages/key.js", SCRIPT),
    file!("pages/keys.js", SCRIPT),
    file!("pages/models.js", SCRIPT),
    file!("pages/overview.js", SCRIPT),
    file!("pages/playground.js", SCRIPT),
    file!("pages/prices.js", SCRIPT),
    file!("pages/request.js", SCRIPT),
    file!("pages/requests.js", SCRIPT),
    file!("pages/secret.js", SCRIPT),
    file!("pages/settings.js", SCRIPT),
    file!("pages/sign-in.js", SCRIPT),
    file!("pages/teams.js", SCRIPT),
    file!("pages/usage.js", SCRIPT),
    file!("paging.js", SCRIPT),
    file!("parts.js", SCRIPT),
    file!("place.js", SCRIPT),
    file!("series.js", SCRIPT),
    file!("theme.js", SCRIPT),
];

/// The tag of each file: changes when its content does.
static TAGS: LazyLock<[EntityTag; ASSETS.len()]> = LazyLock::new(|| ASSETS.each_ref().map(tag));
static INDEX_TAG: LazyLock<EntityTag> = LazyLock::new(|| tag(&INDEX));

fn tag(file: &File) -> EntityTag {
    EntityTag::new_strong(blake3::hash(file.bytes).to_hex().to_string())
}

/// The routes of the dashboard: its page at `/`, and its files below `/assets/`.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/").route(web::get().to(index)).route(web::head().to(index)));
    config.service(
        web::resource("/assets/{path:.+}").route(web::get().to(asset)).route(web::head().to(asset)),
    );
}

/// Every path that has a file.
pub fn paths() -> impl Iterator<Item = String> {
    let assets = ASSETS.iter().map(|file| format!("/assets/{}", file.path));
    std::iter::once("/".to_owned()).chain(assets)
}

async fn index(request: HttpRequest) -> HttpResponse {
    serve(&INDEX, &INDEX_TAG, &request)
}

async fn asset(path: Path<String>, request: HttpRequest) -> HttpResponse {
    let found = ASSETS.iter().zip(TAGS.iter()).find(|(file, _)| file.path == *path);
    match found {
        Some((file, tag)) => serve(file, tag, &request),
        None => guarded(HttpResponse::NotFound()).body("there is no such file"),
    }
}

fn serve(file: &File, tag: &EntityTag, request: &HttpRequest) -> HttpResponse {
    if is_known(request, tag) {
        return guarded(HttpResponse::NotModified())
            .insert_header(("ETag", tag.to_string()))
            .finish();
    }
    guarded(HttpResponse::Ok())
        .insert_header(("ETag", tag.to_string()))
        .content_type(file.content_type)
        .body(file.bytes)
}

/// Whether the browser has the file as it is.
fn is_known(request: &HttpRequest, tag: &EntityTag) -> bool {
    if !request.headers().contains_key(IF_NONE_MATCH) {
        return false;
    }
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|one| one.weak_eq(tag)),
        Err(_) => false,
    }
}

/// Adds what keeps a page to itself.
fn guarded(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, ASK_AGAIN))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .insert_header((HeaderName::from_static("cross-origin-resource-policy"), "same-origin"));
    response
}

#[cfg(test)]
mod tests;
