"""The name of every rule that can open or close access, with the sentence that says it. README.md lists them all."""

from enum import StrEnum


class Rule(StrEnum):
    """Stable names: they are in stored snapshots, in the API's `reason`, and in what the apps log."""

    sentence: str
    """What the rule says, in plain words; the braces are filled in with what is known."""

    def __new__(cls, name: str, sentence: str) -> "Rule":
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.sentence = sentence
        return rule

    SUBSCRIPTION_TRIALING = "subscription-trialing", "On trial {until}."
    SUBSCRIPTION_ACTIVE = (
        "subscription-active",
        "Active: the period ends on {period_end}; access lasts {until}, so that a renewal has time to arrive.",
    )
    SUBSCRIPTION_ENDS = "subscription-ends", "Active but set to end: access lasts {until}."
    SUBSCRIPTION_CHANGES = "subscription-changes", "Active, and set to change: this lasts {until}, then the new plan."
    SUBSCRIPTION_PAST_DUE_GRACE = (
        "subscription-past-due-grace",
        "Payment failed on {unpaid}; access is kept in grace {until}.",
    )
    SUBSCRIPTION_PAUSED_PAID = (
        "subscription-paused-paid",
        "Paused: access lasts {until}, the end of what was paid for or on trial.",
    )
    SUBSCRIPTION_PAUSED = "subscription-paused", "Paused: it gives no access until it is resumed."
    SUBSCRIPTION_NOT_LIVE = "subscription-not-live", "The subscription is {status}: it gives no access."

    SUBSCRIPTION_DOUBLE = (
        "subscription-double",
        "A second subscription of a plan that another one goes on with: Tollhouse cancelled it.",
    )
    SUBSCRIPTION_TRIAL_AGAIN = (
        "subscription-trial-again",
        "A second trial, by the same user, address or card: Tollhouse cancelled it. It can be bought without a trial.",
    )

    PURCHASE_PAID = "purchase-paid", "Bought on {since}: access lasts {until}."
    PURCHASE_STACKED = (
        "purchase-stacked",
        "Bought on {since} while an earlier one ran: it begins on {begins}, where that ends; access lasts {until}.",
    )
    PURCHASE_UNPAID = "purchase-unpaid", "The order of {since} is not paid: it gives no access."

    REFUNDED = "refunded", "Refunded on {ended}: access ended then."
    DISPUTED = "disputed", "The payment has been disputed since {ended}: access is suspended until that is decided."
    DISPUTE_LOST = "dispute-lost", "The dispute of {ended} was lost: access ended then."

    GRANTED = "granted", "Granted from {since}, {until} ({reason})."
    GRANT_REVOKED = "grant-revoked", "Granted from {since}, but revoked on {ended}."

    DEFAULT = "default", "Everybody has {product} without buying it."

    OVERRIDDEN = "overridden", "Set by an operator from {since}, {until} ({reason}): in that time nothing else counts."

    NO_SOURCE = "no-source", "Nothing that was bought or granted opens it."
    NOT_YET = "not-yet", "It opens on {opens}."
    OPENS_OTHER_FEATURES = "opens-other-features", "It counts for other features only."
    PRODUCT_UNKNOWN = (
        "product-unknown",
        "What was bought belongs to no product of the catalog, so it opens nothing: publish a catalog that has it.",
    )
    VALUE_DOES_NOT_FIT = (
        "value-does-not-fit",
        "Its value no longer fits the kind of the feature: revoke it and grant it again.",
    )
