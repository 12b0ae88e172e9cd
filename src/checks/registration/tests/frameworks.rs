//! Real applications of Flask, Django and Starlette, and what is wrapped around and mounted in them.

use crate::checks::testing::{App, only, problems, venv};
use crate::domain::finding::{CheckName, CheckReport, Measured};

fn app() -> Option<App> {
    Some(App::with_interpreter(Some(venv::python_with(
        &venv::WIDE_PACKAGES,
    )?)))
}

fn check(app: &App) -> CheckReport {
    app.check(CheckName::Registration)
}

const FLASK: &str = "from flask import Flask, Blueprint\nfrom shop import users\n\n\
    api = Blueprint('api', __name__, url_prefix='/api')\napi.register_blueprint(users.bp)\n\n\
    def create_app():\n    app = Flask(__name__)\n    app.register_blueprint(api)\n\
    \x20   @app.route('/api/health')\n    def health(): ...\n    return app\n\napp = create_app()\n";
const FLASK_USERS: &str = "from flask import Blueprint\nbp = Blueprint('users', __name__, url_prefix='/users')\n\n\
    @bp.get('/<int:id>')\ndef get(id): ...\n\n@bp.post('/')\ndef add(): ...\n";

fn flask() -> Option<App> {
    Some(
        app()?
            .file("shop/__init__.py", "")
            .file("shop/users.py", FLASK_USERS)
            .file("shop/main.py", FLASK),
    )
}

#[test]
fn flask_with_nested_blueprints_and_a_factory() {
    let Some(app) = flask() else { return };
    let app = app.registration("flask:shop.main:app", &["users", "health"]);
    let report = check(&app);
    assert_eq!(report.findings, vec![]);
    assert_eq!(report.summary, "2 of 2 services mounted (100.0 %)");
    let app = app.registration("flask:shop.main:create_app()", &["users"]);
    // The second call registers the blueprints again, on an application of its own.
    assert_eq!(check(&app).findings, vec![]);
    // Static files of Flask are no service.
    let mut app = app;
    let registration = app.manifest.registration.as_mut().unwrap();
    registration.services[0].prefix = "/static".into();
    only(&check(&app), "registration.missing_service");
}

#[test]
fn flask_blueprints_that_nobody_registered_and_rules_twice() {
    let Some(app) = flask() else { return };
    let app = app
        .file(
            "shop/billing.py",
            FLASK_USERS.replace("users", "billing"),
        )
        .file(
            "shop/debug.py",
            FLASK_USERS.replace("users", "debug"),
        )
        .file(
            "shop/main.py",
            format!(
                "{FLASK}\nfrom shop import billing, debug\nif app.testing:\n    app.register_blueprint(debug.bp)\n\n\
                 @app.get('/api/users/<int:other>')\ndef shadowed(other): ...\n\n\
                 @app.get('/api/users/<other>')\ndef reached(other): ...\n"
            ),
        )
        .registration("flask:shop.main:app", &["users", "billing"]);
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "registration.unmounted_router billing",
            "registration.duplicate_route GET /api/users/{other:int}",
        ]
    );
    let lost = &report.findings[0];
    assert_eq!(
        lost.location.as_ref().unwrap().to_string(),
        "shop/billing.py:2"
    );
    assert!(
        lost.message.contains("the Blueprint bp"),
        "{}",
        lost.message
    );
    assert!(
        lost.remedy
            .as_deref()
            .unwrap()
            .contains("app.register_blueprint(shop.billing.bp)"),
        "{lost:?}"
    );
    let twice = &report.findings[1];
    assert!(
        twice.message.contains("(shop/users.py:4) is reached"),
        "{}",
        twice.message
    );
    assert_eq!(twice.location.as_ref().unwrap().file, "shop/main.py");
}

const SETTINGS: &str = "SECRET_KEY = 'not-a-secret'\nROOT_URLCONF = 'site1.urls'\nINSTALLED_APPS = []\n\
    USE_I18N = True\nLANGUAGE_CODE = 'en'\n";
const URLS: &str = "from django.urls import include, path, re_path\n\
    from django.conf.urls.i18n import i18n_patterns\nfrom site1 import views\n\n\
    users = ([path('<int:id>/', views.user, name='user'), path('', views.Users.as_view())], 'users')\n\
    urlpatterns = [\n    path('api/', include([path('users/', include(users, namespace='u'))])),\n\
    \x20   re_path(r'^api/orders/(?P<pk>[0-9]{1,4})/$', views.order),\n]\n\
    urlpatterns += i18n_patterns(path('shop/', views.order))\n";
const VIEWS: &str = "from django.views import View\n\ndef user(request, id): ...\n\n\
    class Users(View):\n    def get(self, request): ...\n\ndef order(request, pk=None): ...\n\n\
    def other(request, n): ...\n";

fn django(urls: &str) -> Option<App> {
    Some(
        app()?
            .file("site1/__init__.py", "")
            .file("site1/settings.py", SETTINGS)
            .file("site1/views.py", VIEWS)
            .file("site1/urls.py", urls),
    )
}

#[test]
fn django_is_walked_through_its_urlconf() {
    let Some(app) = django(URLS) else { return };
    let mut app = app.registration("django:site1.settings", &["users", "orders", "shop"]);
    let services = &mut app.manifest.registration.as_mut().unwrap().services;
    services[1].prefix = "/api/orders/{id}".into();
    services[2].prefix = "/en/shop".into();
    let report = check(&app);
    assert_eq!(report.findings, vec![]);
    assert!(
        matches!(
            report.measured,
            Measured::Registration {
                routes: 4,
                mounted: 3,
                ..
            }
        ),
        "{:?}",
        report.measured
    );
}

#[test]
fn django_resolves_to_the_first_of_two_patterns() {
    let urls = format!("{URLS}urlpatterns += [path('api/users/<int:n>/', views.other)]\n");
    let Some(app) = django(&urls) else { return };
    let report = check(&app.registration("django:site1.settings", &["users", "ghosts"]));
    assert_eq!(
        problems(&report),
        [
            "registration.missing_service ghosts",
            "registration.duplicate_route /api/users/{n:int}/",
        ]
    );
    let twice = &report.findings[1];
    assert_eq!(
        twice.location.as_ref().unwrap().to_string(),
        "site1/views.py:10"
    );
    assert!(
        twice.message.contains("user (site1/views.py:3) is reached"),
        "{}",
        twice.message
    );
    let broken = django("from site1 import nothing\n").unwrap();
    let report = check(&broken.registration("django:site1.settings", &["users"]));
    let finding = only(&report, "registration.app_unloadable");
    assert!(
        finding.message.contains("cannot import name 'nothing'"),
        "{}",
        finding.message
    );
    assert_eq!(
        finding.location.as_ref().unwrap().to_string(),
        "site1/urls.py:1"
    );
}

#[test]
fn wrapped_and_mounted_applications_are_found() {
    let Some(app) = flask() else { return };
    let main = "from fastapi import FastAPI\nfrom a2wsgi import WSGIMiddleware\n\
        from starlette.applications import Starlette\nfrom starlette.middleware.gzip import GZipMiddleware\n\
        from starlette.routing import Host, Mount, Route, Router\nfrom starlette.staticfiles import StaticFiles\n\
        import socketio\nfrom shop.main import app as flask_app\n\n\
        async def page(request): ...\n\ninner = FastAPI()\ninner.mount('/legacy', WSGIMiddleware(flask_app))\n\
        inner.mount('/api/files', StaticFiles(directory='shop'))\n\
        star = Starlette(routes=[Mount('/api/v1', routes=[Route('/pages', page)]), \
        Host('{sub}.example.org', Router([Route('/api/hosts', page)])), Mount('/in', inner)])\n\
        wrapped = GZipMiddleware(GZipMiddleware(star))\n\
        sock = socketio.ASGIApp(socketio.AsyncServer(async_mode='asgi'), wrapped)\n\
        class Loop:\n    pass\nloop = Loop()\nloop.app = loop\n\
        class Raises:\n    @property\n    def routes(self):\n        raise RuntimeError('no routes today')\nraises = Raises()\n";
    let app = app.file("asgi.py", main);
    let mut app = app.registration(
        "starlette:asgi:sock",
        &["pages", "hosts", "legacy", "files"],
    );
    let services = &mut app.manifest.registration.as_mut().unwrap().services;
    services[0].prefix = "/api/{version}/pages".into();
    services[2].prefix = "/in/legacy/api/users".into();
    services[3].prefix = "/in/api/files".into();
    let report = check(&app);
    assert_eq!(
        problems(&report),
        [
            "registration.missing_service pages",
            "registration.unlisted_service shop.main"
        ],
        "a literal segment is no parameter"
    );
    let services = &mut app.manifest.registration.as_mut().unwrap().services;
    services[0].prefix = "/api/v1/pages".into();
    assert_eq!(
        problems(&check(&app)),
        ["registration.unlisted_service shop.main"]
    );
    for (target, said) in [
        ("asgi:loop", "but asgi.Loop"),
        ("asgi:raises", "no routes today"),
        ("asgi:socketio", "but the module socketio"),
        ("asgi:sock()", "TypeError"),
        ("asgi:main", "AttributeError"),
    ] {
        let app = flask()
            .unwrap()
            .file("asgi.py", main)
            .registration(target, &["pages"]);
        let report = check(&app);
        let finding = only(&report, "registration.app_unloadable");
        assert!(finding.message.contains(said), "{}", finding.message);
    }
}

#[test]
fn ten_thousand_routes_and_hostile_names() {
    let Some(app) = app() else { return };
    let main = "from starlette.applications import Starlette\nfrom starlette.routing import Route\n\n\
        async def page(request): ...\n\npage.__name__ = 'evil\\x1b[2J\\nname'\n\
        routes = [Route('/api/many/%d' % n, page) for n in range(10000)]\n\
        routes += [Route('/x\\x1b]0;t\\x07', page), Route('/x\\x1b]0;t\\x07', page)]\n\
        app = Starlette(routes=routes)\n";
    let app = app
        .file("main.py", main)
        .registration("starlette:main:app", &["many"]);
    let report = check(&app);
    assert!(
        matches!(
            report.measured,
            Measured::Registration {
                routes: 10_002,
                mounted: 1,
                ..
            }
        ),
        "{report:?}"
    );
    let twice = only(&report, "registration.duplicate_route");
    assert!(
        !format!("{}{}", twice.message, twice.subject).contains(['\x1b', '\n', '\x07']),
        "{twice:?}"
    );
}
