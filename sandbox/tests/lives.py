"""A subscription's life on a desk in this process: how it comes into each state, and what is done to it there."""

DAY = 86_400
FAILING, GOOD = "pm_card_chargeCustomerFail", "pm_card_visa"


class Life:
    """One customer of a monthly price and their subscription, `id` once there is one."""

    def __init__(self, here):
        self.here = here
        here.sandbox.freeze(True)
        product = here.post("products", {"name": "PDF Tool Pro"})["id"]
        price = {"product": product, "currency": "eur", "unit_amount": "900", "recurring[interval]": "month"}
        self.price = here.post("prices", price)["id"]
        self.customer = here.post("customers")["id"]
        self.id = ""

    # What it is

    @property
    def now(self):
        return self.here.sandbox.account.now

    @property
    def body(self):
        return self.here.get(f"subscriptions/{self.id}")

    @property
    def status(self):
        return self.body["status"]

    @property
    def latest(self):
        """Its latest invoice."""
        return self.here.get(f"invoices/{self.body['latest_invoice']}")

    def mark(self):
        """How many events there are."""
        return self.here.sandbox.account.store.count("event")

    def events(self, since=0):
        """The events after that many, oldest first."""
        return list(self.here.sandbox.account.store.oldest_first("event"))[since:]

    def happened(self, since=0):
        return [event["type"] for event in self.events(since)]

    # What is done to it

    def card(self, card):
        self.here.post(f"customers/{self.customer}", {"invoice_settings[default_payment_method]": card})

    def begin(self, card=GOOD, **params):
        """Subscribes, with a card unless it is None."""
        if card:
            self.card(card)
        data = {"customer": self.customer, "items[0][price]": self.price, **params}
        self.id = self.here.post("subscriptions", data)["id"]
        return self.body

    def tell(self, path="", **params):
        """A POST to the subscription or below it."""
        return self.here.post(f"subscriptions/{self.id}{path}", params)

    def refuses(self, path="", method="POST", **params):
        """Whether such a call is refused with 400 or 404, and says so without any effect."""
        before = self.body
        body = "&".join(f"{name}={value}" for name, value in params.items())
        status = self.here.status(method, f"/v1/subscriptions/{self.id}{path}", body)
        return status in (400, 404) and self.body == before

    def bill(self, action, expects=200, **params):
        """Does something with the latest invoice: pay, void, mark_uncollectible."""
        body = "&".join(f"{name}={value}" for name, value in params.items())
        path = f"/v1/invoices/{self.body['latest_invoice']}/{action}"
        assert self.here.status("POST", path, body) == expects

    def cancel(self):
        assert self.here.status("DELETE", f"/v1/subscriptions/{self.id}") == 200

    def passes(self, seconds):
        self.here.run(self.here.sandbox.advance(seconds))

    def renews(self):
        """Goes on until the next period's invoice was charged."""
        end = min(item["current_period_end"] for item in self.body["items"]["data"])
        self.passes(end - self.now + 3600)

    def fails_to_renew(self):
        self.card(FAILING)
        self.renews()

    def settings(self, **settings):
        self.here.control("settings", **settings)
