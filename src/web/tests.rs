//! Tests of the pages' answers that hold whether or not the pages were built.

use axum::body::Body;
use http::Request;
use tower::ServiceExt;

use super::*;

fn accepting(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))])
}

#[test]
fn a_coding_is_taken_when_named_and_not_refused() {
    fn check(value: &'static str, coding: &str, expect: bool) {
        assert_eq!(accepts(&accepting(value), coding), expect, "{value:?}");
    }
    check("gzip, deflate, br", "br", true);
    check("gzip, deflate", "br", false);
    check("GZIP;q=0.5", "gzip", true);
    check("gzip;q=0", "gzip", false);
    check("gzip; q=0.0, br", "gzip", false);
    check("", "gzip", false);
}

async fn get_page(path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).unwrap();
    routes().oneshot(request).await.unwrap()
}

async fn check_header(path: &str, name: &str, expect: &str) {
    let response = get_page(path).await;
    let value = response.headers().get(name).map(|v| v.to_str().unwrap());
    assert!(
        value.is_some_and(|v| v.contains(expect)),
        "{path}: {name} is {value:?}, without {expect:?}"
    );
}

#[tokio::test]
async fn only_the_embedded_player_may_be_framed() {
    let csp = "content-security-policy";
    check_header("/", csp, "frame-ancestors 'none'").await;
    check_header("/watch/demo", csp, "frame-ancestors 'none'").await;
    check_header("/watch/demo", "x-frame-options", "DENY").await;
    check_header("/embed/demo", csp, "frame-ancestors *").await;
    let embed = get_page("/embed/demo").await;
    assert!(!embed.headers().contains_key(header::X_FRAME_OPTIONS));
}

#[tokio::test]
async fn only_the_publish_page_may_ask_for_the_camera() {
    check_header("/publish/demo", "permissions-policy", "camera=(self)").await;
    check_header("/watch/demo", "permissions-policy", "camera=()").await;
}

#[tokio::test]
async fn a_page_that_cannot_be_is_not_found() {
    for path in ["/watch/a%2Fb", "/publish/%2e%2e", "/vod/nonsense"] {
        assert_eq!(get_page(path).await.status(), StatusCode::NOT_FOUND);
    }
    let asset = get_page("/assets/none.js").await;
    assert_eq!(asset.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn programs_get_a_problem_where_people_get_a_page() {
    async fn check(accept: &str, expect: &str) {
        let request = Request::get("/nowhere")
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .unwrap();
        let response = not_found(request).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert!(kind.starts_with(expect), "{accept}: {kind}");
    }
    check("text/html,*/*", "text/html").await;
    check("application/json", "application/problem+json").await;
    check("*/*", "application/problem+json").await;
}
