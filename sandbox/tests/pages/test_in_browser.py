"""The hosted pages in Chromium: with the keyboard alone, without JavaScript, narrow and wide, light and dark."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), pytest.mark.xdist_group("browser")]

# What each control is called, from its label or its words; "" for one that has no name.
NAMES = """
[...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary')]
  .filter(each => !each.closest('[aria-hidden=true]'))
  .map(each => (each.getAttribute('aria-label') || [...(each.labels || [])].map(l => l.textContent).join(' ')
    || each.textContent).trim())
"""
# Texts whose contrast with what is behind them is less than WCAG's 4.5 (3 for large ones), with that contrast.
FAINT = """
() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = each => {
    for (; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return rgb(getComputedStyle(document.body).backgroundColor);
  };
  const faint = [];
  for (const each of document.querySelectorAll('main *, .marker, .marker *')) {
    const own = [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !each.checkVisibility()) continue;
    const style = getComputedStyle(each), pair = [light(rgb(style.color)), light(behind(each))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) faint.push(each.textContent.trim().slice(0, 40) + ' ' + contrast.toFixed(2));
  }
  return faint;
}
"""
FOCUS = "getComputedStyle(document.activeElement.matches('.choice input') ? document.activeElement.parentElement"
FOCUS += " : document.activeElement).outlineWidth"


@pytest.fixture
def paths(merchant, receiver):
    """A page of each kind, in a sandbox in which something has happened."""
    price = merchant.price()
    product = merchant.read(f"/prices/{price}")["product"]
    dearer = merchant.create("/prices", product=product, currency="eur", unit_amount=1900, **MONTHLY)["id"]
    merchant.create("/webhook_endpoints", url=receiver.url, **{"enabled_events[0]": "*"})
    _, subscription = merchant.subscriber(price)
    standing = merchant.read(f"/subscriptions/{subscription}")
    features = {
        "[customer_update][enabled]": "true",
        "[customer_update][allowed_updates][0]": "name",
        "[subscription_cancel][enabled]": "true",
        "[subscription_cancel][cancellation_reason][enabled]": "true",
        "[subscription_cancel][cancellation_reason][options][0]": "too_expensive",
        "[subscription_cancel][cancellation_reason][options][1]": "unused",
        "[subscription_pause][enabled]": "true",
        "[subscription_update][enabled]": "true",
        "[subscription_update][default_allowed_updates][0]": "price",
        "[subscription_update][proration_behavior]": "always_invoice",
        "[subscription_update][products][0][product]": product,
        "[subscription_update][products][0][prices][0]": dearer,
    }
    configuration = merchant.create(
        "/billing_portal/configurations", **{f"features{name}": value for name, value in features.items()}
    )["id"]
    fields = {"customer": standing["customer"], "configuration": configuration}
    portal = "/portal/" + merchant.create("/billing_portal/sessions", **fields)["id"]
    merchant.sandbox.fault("delay", times=2, type="invoice.*")
    merchant.sandbox.drain()
    return {
        "checkout": f"/pay/{merchant.checkout(price, allow_promotion_codes='true', **TRIAL)}",
        "portal": portal,
        "portal-change": f"{portal}/confirm/{subscription}?price={dearer}",
        "portal-cancel": f"{portal}/cancel/{subscription}",
        "invoice": f"/invoice/{standing['latest_invoice']}",
        "receipt": f"/invoice/{standing['latest_invoice']}/print",
        "desk": "/",
        "desk-list": "/objects/event",
        "desk-object": f"/objects/subscription/{subscription}",
        "desk-event": f"/objects/event/{merchant.read('/events?limit=1')['data'][0]['id']}",
    }


MONTHLY = {"recurring[interval]": "month"}
TRIAL = {"subscription_data[trial_period_days]": 14}


def test_every_page_fits_and_can_be_read(merchant, page, paths, picture):
    """At 390 and 1280 px no page scrolls sideways; in light and dark every text has WCAG's contrast, all have names."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for name, path in paths.items():
            page.goto(merchant.sandbox.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            assert all(page.evaluate(NAMES)), name
            assert page.locator("h1").count() == 1, name
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(FAINT) == [], (name, scheme)
            picture(page, f"{name}-{width}")


def test_a_purchase_by_keyboard_alone(merchant, page):
    """Tab reaches everything in the order of the page, with a focus one sees; a code and Enter never pays unseen."""
    coupon = merchant.create("/coupons", percent_off=20, duration="once", name="Spring")["id"]
    merchant.create("/promotion_codes", code="SPRING20", **{"promotion[type]": "coupon", "promotion[coupon]": coupon})
    checkout = merchant.checkout(merchant.price(), allow_promotion_codes="true")
    page.goto(f"{merchant.sandbox.url}/pay/{checkout}")
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS) == "3px"
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert reached == ["← Back", "Add a promotion code", "email", "card", "More test cards", "Subscribe"]

    page.get_by_text("Add a promotion code").focus()
    page.keyboard.press("Enter")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Promotion code").fill("spring20")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("look at the total")
    expect(page.get_by_text("€7.20").first).to_be_visible()
    page.get_by_label("Visa, succeeds").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("declined")
    expect(page.get_by_label("E-mail")).to_have_value("ada@example.com")
    assert merchant.session(checkout)["status"] == "open"


def test_a_life_without_javascript(merchant, chromium, paths):
    """3-D Secure, a change of plan and its cancellation with a reason, in a browser that runs no script at all."""
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.set_default_timeout(10_000)
        success = f"{merchant.sandbox.url}/static/icon.svg"
        session = merchant.create(
            "/checkout/sessions",
            mode="subscription",
            success_url=success,
            **{"line_items[0][price]": merchant.price(), "line_items[0][quantity]": 1},
        )
        page.goto(session["url"])
        page.get_by_label("E-mail").fill("grace@example.com")
        page.get_by_label("Asks for 3-D Secure once").check()
        page.get_by_role("button", name="Subscribe").click()
        page.get_by_role("button", name="Fail").click()
        expect(page.get_by_role("alert")).to_contain_text("could not confirm")
        page.get_by_role("button", name="Subscribe").click()
        page.get_by_role("button", name="Complete authentication").click()
        page.wait_for_url(success)
        assert merchant.session(session["id"])["payment_status"] == "paid"

        page.goto(merchant.sandbox.url + paths["portal"])
        page.get_by_role("link", name="Change plan").click()
        page.get_by_role("button", name="See what it costs").click()
        expect(page.get_by_text("Due today")).to_be_visible()
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("status")).to_contain_text("The plan is changed.")
        expect(page.get_by_text("€19.00 per month")).to_be_visible()
        page.get_by_role("link", name="Cancel plan").click()
        page.get_by_label("It is too expensive").check()
        page.get_by_role("button", name="Yes, cancel it").click()
        expect(page.get_by_text(re.compile(r"Ends on .+\."))).to_be_visible()
