"""What holds for every call: keys, errors, idempotency, pages, expansion, headers."""

import base64
import socket

import httpx
import pytest
import stripe

from tollhouse_sandbox.store import Store


@pytest.fixture
def http(desk):
    with httpx.Client(base_url=desk.url, headers={"Authorization": "Bearer sk_test_x"}, trust_env=False) as client:
        yield client


# Keys


@pytest.mark.parametrize("key", ["sk_test_anything", "rk_test_anything"])
def test_every_test_key_is_accepted(desk, connect, key):
    """Secret and restricted test keys open the account; it is never live."""
    assert connect(desk.url, key).customers.create().livemode is False


@pytest.mark.parametrize("key", ["sk_live_anything", "pk_test_anything", "nonsense"])
def test_other_keys_are_refused(desk, connect, key):
    """A live key, a publishable key or garbage is a 401 in Stripe's shape, and the key is not repeated."""
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided") as refused:
        connect(desk.url, key).customers.list()
    assert refused.value.http_status == 401
    assert "anything" not in refused.value.user_message


def test_basic_authentication(desk):
    """The key may come as the user name of Basic, as curl sends it; without any it is a 401."""
    good = base64.b64encode(b"sk_test_x:").decode()
    with httpx.Client(base_url=desk.url, trust_env=False) as client:
        assert client.get("/v1/customers", headers={"Authorization": f"Basic {good}"}).status_code == 200
        assert client.get("/v1/customers", headers={"Authorization": "Basic %%%"}).status_code == 401
        missing = client.get("/v1/customers")
    assert missing.status_code == 401
    assert "did not provide an API key" in missing.json()["error"]["message"]


# Errors


def test_unknown_objects(api):
    """In a path an unknown id is 404, in a parameter 400; both say resource_missing and which parameter."""
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'") as in_path:
        api.customers.retrieve("cus_none")
    assert (in_path.value.http_status, in_path.value.code, in_path.value.param) == (404, "resource_missing", "id")
    with pytest.raises(stripe.InvalidRequestError) as in_body:
        api.billing_portal.sessions.create(params={"customer": "cus_none"})
    assert (in_body.value.http_status, in_body.value.param) == (400, "customer")


def test_unknown_url(desk, http):
    """What the sandbox does not have is a 404 in Stripe's shape, whatever the method, that names it and says where it
    is listed what there is."""
    for answer in (http.get("/v1/nothing"), http.post("/v2/nothing"), http.delete("/v1/prices")):
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (404, "invalid_request_error")
        method, path = answer.request.method, answer.request.url.path
        assert error["message"].startswith(f"Unrecognized request URL ({method}: {path}).")
        assert error["message"].endswith(error["doc_url"])
    unknown = http.post("/v1/products", data={"name": "x", "colour": "red"}).json()["error"]
    assert unknown["message"].startswith("Received unknown parameter: colour. ")
    assert unknown["doc_url"] == error["doc_url"] == f"{desk.url}/coverage"
    covered = http.get(unknown["doc_url"]).text.splitlines()
    assert "DELETE /v1/prices" not in covered
    assert any(line.startswith("POST /v1/products ") and " name* " in line for line in covered)


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("products", "", "parameter_missing", "name"),
        ("products", "name=x&colour=red", "parameter_unknown", "colour"),
        ("products", "name=", "parameter_invalid_empty", "name"),
        ("products", "name=" + "x" * 5001, None, "name"),
        ("products", "name[a]=b", None, "name"),
        ("products", "name=x&active=maybe", None, "active"),
        ("products", "name=x&images=notalist", None, "images"),
        ("products", "name=x&metadata=1", None, "metadata"),
        ("products", "name=x&metadata[a][b]=1", None, "metadata"),
        ("products", f"name=x&metadata[{'k' * 41}]=1", None, f"metadata[{'k' * 41}]"),
        ("products", "name=x&" + "&".join(f"metadata[k{n}]=v" for n in range(51)), None, "metadata"),
        ("products", "name=x&name[a]=y", None, "name[a]"),
        ("products", "na]me=x", None, "na]me"),
        ("customers", "shipping=x", None, "shipping"),
        ("customers", "balance=ten", "parameter_invalid_integer", "balance"),
        ("customers", "balance=1_000", "parameter_invalid_integer", "balance"),
        ("customers", "tax_exempt=maybe", None, "tax_exempt"),
        ("products", "name=x&images[²]=y", None, "images"),
        (
            "prices",
            "currency=eur&unit_amount=1&product_data[name]=x&recurring[interval]=month&recurring[interval_count]=0",
            "parameter_invalid_integer",
            "recurring[interval_count]",
        ),
        ("prices", "currency=eur&product_data[name]=x&unit_amount_decimal=NaN", None, "unit_amount_decimal"),
        ("checkout/sessions", f"expires_at={'9' * 14}", "parameter_invalid_integer", "expires_at"),
        ("prices", "currency=eur&product_data[name]=x&unit_amount=-1", "parameter_invalid_integer", "unit_amount"),
        ("prices", "currency=eur&product_data[name]=x&unit_amount_decimal=x", None, "unit_amount_decimal"),
        ("prices", "currency=eur&product_data[name]=x", "parameter_missing", "unit_amount"),
        ("prices", "currency=eur&unit_amount=1", "parameter_missing", "product"),
        ("prices", "currency=euro&unit_amount=1&product_data[name]=x", None, "currency"),
        ("prices", "currency=eur&unit_amount=1&product=prod_none", "resource_missing", "product"),
        ("webhook_endpoints", "url=ftp://x&enabled_events[]=*", None, "url"),
        ("payment_methods", "type=card&card[number]=1", None, "card"),
    ],
)
def test_parameters_are_checked(http, path, body, code, param):
    """Each kind of wrong parameter is a 400 that names the parameter by its full path."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.post(f"/v1/{path}", content=body.encode(), headers=form)
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert (error["type"], error.get("code"), error.get("param")) == ("invalid_request_error", code, param)


def test_an_error_in_the_sandbox_is_a_500(http, desk):
    """Whatever goes wrong inside is answered in Stripe's shape."""
    desk.fail_next(500, path="/v1/customers", method="GET")
    answer = http.get("/v1/customers")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "api_error")
    assert http.get("/v1/customers").status_code == 200


def test_rate_limit_on_order(http, desk):
    """A 429 can be ordered, for any method."""
    desk.fail_next(429, times=2)
    answers = [http.get("/v1/customers") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert [answer.headers.get("Stripe-Rate-Limited-Reason") for answer in answers] == ["global-rate"] * 2 + [None]


# Headers


def test_headers(http):
    """Every answer names its request and the version its objects are written in."""
    answer = http.get("/v1/customers")
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"] == stripe.api_version == "2026-10-28.endive"
    assert "Idempotency-Key" not in answer.headers
    refusals = [
        http.get("/v1/customers/cus_none"),
        http.get("/v1/customers", headers={"Authorization": "Bearer sk_live_x"}),
        http.get("/v1/customers", headers={"Stripe-Version": "1"}),
        http.post("/v1/customers", headers={"Idempotency-Key": "k" * 256}),
    ]
    assert [refused.status_code for refused in refusals] == [404, 401, 400, 400]
    for refused in refusals:
        error = refused.json()["error"]
        assert refused.headers["Request-Id"] in error["request_log_url"]
        assert ("doc_url" in error) == ("code" in error)


# Idempotency


def test_a_repeated_post_is_done_once(api):
    """The same key and parameters give the same answer, marked as a replay of the first request."""
    key = {"idempotency_key": "order-1"}
    first = api.customers.create(params={"email": "a@example.com"}, options=key)
    second = api.customers.create(params={"email": "a@example.com"}, options=key)
    assert first.id == second.id
    assert len(api.customers.list().data) == 1
    replayed = second.last_response.headers
    assert replayed["Idempotent-Replayed"] == "true"
    assert replayed["Original-Request"] == first.last_response.headers["Request-Id"] != replayed["Request-Id"]
    assert first.last_response.headers["Idempotency-Key"] == "order-1"
    assert first.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert first.last_response.headers["Stripe-Should-Retry"] == "false"


def test_a_key_belongs_to_its_parameters(api):
    """Other parameters, or another endpoint, are a 400 idempotency_error."""
    key = {"idempotency_key": "order-1"}
    api.customers.create(params={"email": "a@example.com"}, options=key)
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as refused:
        api.customers.create(params={"email": "b@example.com"}, options=key)
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        api.products.create(params={"name": "x"}, options=key)
    with pytest.raises(stripe.IdempotencyError, match="255"):
        api.customers.create(options={"idempotency_key": "k" * 256})


def test_a_refusal_is_not_stored(api):
    """After a 400 the same key may be used with corrected parameters."""
    key = {"idempotency_key": "order-1"}
    with pytest.raises(stripe.InvalidRequestError):
        api.products.create(params={"nam": "x"}, options=key)
    assert api.products.create(params={"name": "x"}, options=key).name == "x"


def test_a_decline_is_stored(shop):
    """A 402 is replayed: the card is not tried a second time."""
    customer = shop.customer("pm_card_chargeCustomerFail")
    invoice = shop.subscribe(shop.price(), customer).latest_invoice
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            shop.api.invoices.pay(invoice, options={"idempotency_key": "pay-1"})
    assert len(shop.api.charges.list(params={"customer": customer.id}).data) == 2


def test_a_500_is_stored(desk, api):
    """A stored failure is replayed even though the fault is gone, whether or not the call had an effect."""
    for name, after, made in (("lost", True, 1), ("never", False, 1)):
        desk.fail_next(500, after=after)
        for _ in range(2):
            with pytest.raises(stripe.APIError):
                api.customers.create(options={"idempotency_key": name})
        assert len(api.customers.list().data) == made


def test_retries_of_the_library_meet_the_same_key(desk, connect):
    """The SDK's own retry after a 500 sends the same key, so it gets the stored 500 again and nothing is doubled."""
    desk.fail_next(500, after=True)
    api = connect(desk.url, retries=1)
    with pytest.raises(stripe.APIError):
        api.customers.create()
    assert len(api.customers.list().data) == 1


def test_a_key_is_forgotten_after_a_day(desk, api):
    """Keys live 24 hours of the account's clock."""
    key = {"idempotency_key": "order-1"}
    first = api.customers.create(options=key)
    desk.advance(hours=25)
    assert api.customers.create(options=key).id != first.id


def test_a_key_in_flight_is_a_conflict(desk, http):
    """While a request with a key is still arriving, another one with that key is a 409."""
    host, port = desk.url.removeprefix("http://").split(":")
    head = (
        "POST /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk_test_x\r\n"
        "Idempotency-Key: slow\r\nContent-Length: 13\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head.encode())
        answers = []
        while not answers or answers[-1].status_code != 409:  # until the first request's headers were read
            answers.append(http.post("/v1/customers", headers={"Idempotency-Key": "slow"}))
            assert len(answers) < 50
        assert answers[-1].json()["error"]["code"] == "idempotency_key_in_use"
        slow.sendall(b"name=Slowpoke")
        assert b"HTTP/1.1" in slow.recv(4096)


# Pages


def test_pages(api):
    """Newest first, ten unless asked, cursors in both directions, and `has_more` tells the truth."""
    made = [api.customers.create(params={"name": str(number)}).id for number in range(25)][::-1]
    page = api.customers.list()
    assert ([each.id for each in page.data], page.has_more) == (made[:10], True)
    assert page.url == "/v1/customers"
    page = api.customers.list(params={"limit": 10, "starting_after": made[19]})
    assert ([each.id for each in page.data], page.has_more) == (made[20:], False)
    page = api.customers.list(params={"limit": 5, "ending_before": made[10]})
    assert ([each.id for each in page.data], page.has_more) == (made[5:10], True)
    page = api.customers.list(params={"limit": 5, "ending_before": made[5]})
    assert ([each.id for each in page.data], page.has_more) == (made[:5], False)
    with pytest.raises(stripe.InvalidRequestError, match="only specify one"):
        api.customers.list(params={"starting_after": made[3], "ending_before": made[9]})
    exact = api.customers.list(params={"limit": 25})
    assert (len(exact.data), exact.has_more) == (25, False)
    assert [each.id for each in api.customers.list(params={"limit": 7}).auto_paging_iter()] == made


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"limit": 0}, "parameter_invalid_integer"),
        ({"limit": 101}, "parameter_invalid_integer"),
        ({"limit": "x"}, "parameter_invalid_integer"),
        ({"starting_after": "cus_none"}, "resource_missing"),
        ({"ending_before": "cus_none"}, "resource_missing"),
    ],
)
def test_wrong_pages(api, params, code):
    """Limits outside 1 to 100 and unknown cursors are refused."""
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.customers.list(params=params)
    assert refused.value.code == code


def test_a_cursor_that_left_the_list_still_works(shop):
    """An object that no longer passes the filter can still be the cursor."""
    first, second, third = (shop.subscribe(shop.price()) for _ in range(3))
    shop.api.subscriptions.cancel(second.id)
    after = shop.api.subscriptions.list(params={"starting_after": second.id})
    assert [each.id for each in after.data] == [first.id]
    assert [each.id for each in shop.api.subscriptions.list().data] == [third.id, first.id]


def test_a_whole_account_is_listed_page_by_page(shop):
    """Subscriptions of all customers and every status, charges, refunds and disputes: each once, newest first."""
    price = shop.price()
    made = [shop.subscribe(price) for _ in range(4)]
    shop.api.subscriptions.cancel(made[1].id)
    charges = list(shop.api.charges.list(params={"limit": 1}).auto_paging_iter())
    assert len(charges) == 4
    refunds = [shop.api.refunds.create(params={"charge": one.id, "amount": 100}) for one in charges[:3]]
    disputes = [shop.desk.dispute(one.id)["id"] for one in charges[2:]]

    def listed(resource, **params):
        return [one.id for one in resource.list(params={"limit": 2, **params}).auto_paging_iter()]

    assert listed(shop.api.subscriptions, status="all") == [one.id for one in made][::-1]
    assert listed(shop.api.refunds) == [one.id for one in refunds][::-1]
    assert listed(shop.api.disputes, created={"gte": made[0].created}) == disputes[::-1]
    page = shop.api.refunds.list(params={"limit": 2, "expand": ["data.charge"]})
    assert [one.charge.customer for one in page.data] == [charges[2].customer, charges[1].customer]


def test_what_a_step_undid_leaves_no_hole_in_a_list():
    """An object that is taken out again is listed nowhere, and the cursors around it still work."""
    store = Store()
    for number in range(4):
        store.put({"object": "thing", "id": f"thing_{number}"})
    store.commit()
    store.remove({"object": "thing", "id": "thing_1"})
    store.put({"object": "thing", "id": "thing_4"})
    assert [one["id"] for one in store.newest_first("thing", "thing_2")] == ["thing_0"]
    store.rollback()
    assert [one["id"] for one in store.newest_first("thing")] == [f"thing_{number}" for number in range(4)][::-1]
    assert [one["id"] for one in store.newest_first("thing", "thing_2")] == ["thing_1", "thing_0"]


def test_created_filters(desk, api):
    """All four comparisons and the exact second."""
    first = api.customers.create()
    desk.advance(seconds=10)
    second = api.customers.create()

    def found(created):
        return [each.id for each in api.customers.list(params={"created": created}).data]

    assert found({"gte": second.created}) == found({"gt": first.created}) == found(second.created) == [second.id]
    assert found({"lte": first.created}) == found({"lt": second.created}) == [first.id]
    assert found({"gte": first.created, "lt": second.created + 1}) == [second.id, first.id]


# Expansion


def test_expand(shop):
    """Up to four levels, through lists, several paths in one call; the stored objects stay as they are."""
    session = shop.checkout(shop.price())
    shop.desk.pay(session.id)
    deep = shop.api.checkout.sessions.retrieve(
        session.id,
        params={"expand": ["subscription.latest_invoice.customer", "subscription.latest_invoice.payments", "customer"]},
    )
    invoice = deep.subscription.latest_invoice
    assert invoice.payments.data[0].amount_paid == 900
    assert deep.customer.object == invoice.customer.object == "customer"
    paid = shop.api.invoices.retrieve(invoice.id, params={"expand": ["payments.data.payment.payment_intent"]})
    assert paid.payments.data[0].payment.payment_intent.status == "succeeded"
    lines = shop.api.invoices.line_items.list(invoice.id, params={"expand": ["data.pricing.price_details.price"]})
    assert lines.data[0].pricing.price_details.price.unit_amount == 900
    plain = shop.api.invoices.retrieve(invoice.id)
    assert isinstance(plain.lines.data[0].pricing.price_details.price, str)
    listed = shop.api.subscriptions.list(params={"expand": ["data.customer.invoice_settings.default_payment_method"]})
    assert listed.data[0].customer.invoice_settings.default_payment_method.card.last4 == "4242"
    assert listed.data[0].customer.id == deep.customer.id


def test_expanding_what_is_not_there(shop):
    """Null stays null; a customer's subscriptions and a charge's refunds are shown only when asked for."""
    customer = shop.customer()
    subscription = shop.subscribe(shop.price(), customer)
    expanded = shop.api.subscriptions.retrieve(subscription.id, params={"expand": ["pending_setup_intent"]})
    assert expanded.pending_setup_intent is None
    assert "subscriptions" not in shop.api.customers.retrieve(customer.id)
    with_all = shop.api.customers.retrieve(customer.id, params={"expand": ["subscriptions"]})
    assert with_all.subscriptions.data[0].id == subscription.id
    charge = shop.api.charges.list().data[0]
    assert shop.api.charges.retrieve(charge.id, params={"expand": ["refunds"]}).refunds.data == []


@pytest.mark.parametrize(
    "path",
    [
        "email",
        "nothing",
        "data.customer",
        "invoice_settings.nothing",
        "subscriptions.customer",
        "subscriptions.data.latest_invoice.lines.data",
    ],
)
def test_what_cannot_be_expanded(shop, path):
    """A path that leads nowhere, or too deep, is a 400 about `expand`."""
    customer = shop.customer()
    with pytest.raises(stripe.InvalidRequestError, match="expand") as refused:
        shop.api.customers.retrieve(customer.id, params={"expand": [path]})
    assert refused.value.param == "expand"
