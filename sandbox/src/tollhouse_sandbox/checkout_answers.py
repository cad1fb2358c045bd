"""What a payment page asks of the customer beside a card: a name, an address, custom fields, consent; the answers."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tollhouse_sandbox.errors import StripeError
from tollhouse_sandbox.payment_methods import NO_ADDRESS
from tollhouse_sandbox.store import Json

_ADDRESS = {"line1": "Address", "postal_code": "Postal code", "city": "City", "country": "Country"}
_FORMS = {"text": "text", "numeric": "number", "dropdown": "choice"}


@dataclass(frozen=True)
class Question:
    """One thing to be filled in, as the page draws it.

    `form` is `text`, `number`, `tel`, `choice` (of `options`, value → label) or `agreement`, whose answer is `yes`.
    """

    name: str
    label: str
    form: str = "text"
    required: bool = True
    options: Mapping[str, str] | None = None
    default: str | None = None
    shortest: int | None = None
    longest: int | None = None

    def check(self, answer: str) -> str:
        """The answer, if it is one. Raises 400 with a sentence for the customer otherwise."""
        answer = answer.strip() or self.default or ""
        if not answer:
            if self.required:
                raise StripeError(f"Please fill in: {self.label}.", param=self.name)
            return ""
        fits = (self.shortest or 0) <= len(answer) <= (self.longest or 255)
        if self.form == "number" and not answer.isdecimal():
            raise StripeError(f"{self.label} must be a number.", param=self.name)
        if (self.options is not None and answer not in self.options) or not fits:
            raise StripeError(f"This is no valid answer: {self.label}.", param=self.name)
        return answer


def shown(session: Json) -> list[Json]:
    """The questions as the page draws them: the fields of `Question`."""
    return [asdict(question) for question in questions(session)]


def questions(session: Json) -> list[Question]:
    """What this page asks."""
    return [*_names(session), *_contact(session), *map(_custom, session["custom_fields"]), *_agreements(session)]


def _names(session: Json) -> Iterator[Question]:
    wanted: Json = session.get("name_collection") or {}
    for kind, label in (("individual", "Full name"), ("business", "Business name")):
        if (asked := wanted.get(kind)) and asked["enabled"]:
            yield Question(f"{kind}_name", label, required=not asked["optional"])


def _contact(session: Json) -> Iterator[Question]:
    if session["billing_address_collection"] == "required":
        yield Question("name", "Name")
        yield from (Question(name, label) for name, label in _ADDRESS.items())
    if session["phone_number_collection"]["enabled"]:
        yield Question("phone", "Phone number", "tel")


def _custom(field: Json) -> Question:
    form: Json = field[field["type"]]
    return Question(
        f"custom_fields[{field['key']}]",
        field["label"]["custom"],
        _FORMS[field["type"]],
        required=not field["optional"],
        options={option["value"]: option["label"] for option in form["options"]} if "options" in form else None,
        default=form["default_value"],
        shortest=form.get("minimum_length"),
        longest=form.get("maximum_length"),
    )


def _agreements(session: Json) -> Iterator[Question]:
    asked: Json = session["consent_collection"] or {}
    yes = {"yes": "Yes"}
    if asked.get("terms_of_service") == "required":
        text = (session["custom_text"]["terms_of_service_acceptance"] or {}).get("message")
        yield Question("terms_of_service", text or "I agree to the terms of service", "agreement", options=yes)
    if asked.get("promotions") == "auto":
        yield Question("promotions", "Send me news and offers", "agreement", required=False, options=yes)


def read(session: Json, given: Mapping[str, Any]) -> dict[str, str]:
    """The answers by the questions' names. Raises 400 for one that is missing, wrong, or answers nothing asked."""
    asked = {question.name: question for question in questions(session)}
    for name in given:
        if name not in asked:
            raise StripeError(f"This page does not ask for {name}.", param=name)
    return {name: question.check(str(given.get(name) or "")) for name, question in asked.items()}


def address(answers: Mapping[str, str]) -> Json | None:
    """The address that was filled in."""
    if "line1" not in answers:
        return None
    return {**NO_ADDRESS, **{name: answers[name] for name in _ADDRESS}}


def name(answers: Mapping[str, str]) -> str | None:
    """What the customer calls themselves."""
    return answers.get("name") or answers.get("individual_name") or answers.get("business_name") or None


def written(session: Json, answers: Mapping[str, str], customer: Json | None, email: str | None) -> Json:
    """The fields of a completed session that hold the answers."""
    known: Json = customer or {}
    business, individual = answers.get("business_name") or None, answers.get("individual_name") or None
    asked: Json = session["consent_collection"] or {}
    return {
        "collected_information": {
            "business_name": business,
            "individual_name": individual,
            "shipping_details": None,
        }
        if business or individual
        else None,
        "consent": {
            "promotions": ("opt_in" if answers["promotions"] else "opt_out") if "promotions" in answers else None,
            "terms_of_service": "accepted" if "terms_of_service" in answers else None,
        }
        if asked
        else None,
        "custom_fields": [_filled(field, answers) for field in session["custom_fields"]],
        "customer_details": {
            "address": address(answers) or known.get("address") or NO_ADDRESS,
            "business_name": business,
            "email": email,
            "individual_name": individual or known.get("name"),
            "name": name(answers) or known.get("name"),
            "phone": answers.get("phone") or known.get("phone"),
            "tax_exempt": known.get("tax_exempt", "none"),
            "tax_ids": [],
        },
    }


def _filled(field: Json, answers: Mapping[str, str]) -> Json:
    answer = answers[f"custom_fields[{field['key']}]"] or None
    return {**field, field["type"]: {**field[field["type"]], "value": answer}}
