"""What can be wrong with one entry of what people send: each kind of mistake has a stable code, in `errors[].code`."""

from enum import StrEnum


class Mistake(StrEnum):
    """The codes of mistakes in a catalog or a grant, each with what to do; programs may depend on them."""

    meaning: str
    """What is wrong and what to do, in plain words."""

    def __new__(cls, name: str, meaning: str) -> "Mistake":
        mistake = str.__new__(cls, name)
        mistake._value_ = name
        mistake.meaning = meaning
        return mistake

    # Of any document
    MISSING = "missing", "It must be there: write it."
    WRONG_TYPE = "wrong-type", "It is of another type: write text, a number, a table or a list, as the detail says."
    TEXT_OUT_OF_FORM = "text-out-of-form", "Text is one line of 1 to 200 printable characters: shorten or mend it."
    BAD_CODE = "bad-code", "A code has 1 to 63 lower-case letters, digits, - and _: rename it."
    OUT_OF_RANGE = "out-of-range", "The number is too small or too large: the detail says from where to where it goes."
    UNKNOWN_KEY = "unknown-key", "Nothing is called like this here: look for a typing mistake, or delete it."
    UNKNOWN_CHOICE = "unknown-choice", "It must be one of a few words: the detail lists them."
    USELESS = "useless", "It does nothing here: delete it, or add what it needs."

    # Of a catalog
    UNKNOWN_POLICY = (
        "unknown-policy",
        "There is no such policy, or it cannot be set to this: the detail lists them.",
    )
    BAD_CURRENCY = "bad-currency", 'A currency has three lower-case letters, as in "eur".'
    BAD_TAX_CODE = "bad-tax-code", "A tax code is one of Stripe's, as in txcd_10103001: look it up there."
    BAD_ORIGIN = "bad-origin", 'An origin has scheme, host and port only, as in "https://app.example".'
    DEFAULT_FOR_MONEY = (
        "default-for-money",
        "Everybody has the default product without buying it: delete its price, or make the amount 0.",
    )
    BAD_BUNDLE = "bad-bundle", 'A bundle names a product of another project, as in "other-project.product".'
    UNKNOWN_PROJECT = "unknown-project", "No project is registered under this slug: publish its catalog first."
    BUNDLE_CYCLE = "bundle-cycle", "What it bundles leads back to this project: bundles go one way only."
    OTHER_PROJECT = "other-project", "It is of another project: name the one that is meant, or publish it there."

    UNKNOWN_STRIPE_PRICE = (
        "unknown-stripe-price",
        "Stripe knows no price of this id, in the mode of STRIPE_SECRET_KEY: look for a typing mistake.",
    )
    STRIPE_PRICE_TWICE = (
        "stripe-price-twice",
        "A Stripe price counts as one product: take it out of the other, or out of stripe_prices if it is sold here.",
    )

    # Of a catalog and of a grant
    LIMIT_BELOW_ZERO = "limit-below-zero", 'A limit is a whole number from 0 on, or "unlimited": 0 is closed.'
    UNKNOWN_FEATURE = "unknown-feature", "The catalog has no such feature: declare it, or look for a typing mistake."
    UNKNOWN_PRODUCT = "unknown-product", "The catalog has no such product: declare it, or look for a typing mistake."
    VALUE_DOES_NOT_FIT = (
        "value-does-not-fit",
        'A switch takes true or false; a limit takes a whole number or "unlimited": write what fits the feature.',
    )

    # Of a grant
    GRANT_IN_THE_PAST = (
        "grant-in-the-past",
        "It would be over before now: give it an end that is still to come, or none.",
    )
