"""`stratal webhook`: endpoints that are told of events, and what became of each delivery."""

from typing import Annotated

import typer
from rich.text import Text

from stratal.cli.options import Json, StoreUrl, use
from stratal.cli.printing import cell, moment, print_json, print_out, table
from stratal.core.ids import short
from stratal.webhooks.calls import add_webhook, deliveries, pause_webhook, remove_webhook, resend, resume_webhook, try_webhook, webhooks
from stratal.webhooks.endpoints import Delivery

Name = Annotated[str, typer.Argument(help="The name of the webhook.")]
_COLOURS = {"delivered": "green", "waiting": "yellow", "dead": "red"}


def register(app: typer.Typer) -> None:
    """Add the command with its parts."""
    made = typer.Typer(
        help="Endpoints that are told of events: add, list, pause, resume, remove, test, deliveries, resend.", no_args_is_help=True
    )
    made.command("add")(_add)
    made.command("list")(_list)
    made.command("pause")(_pause)
    made.command("resume")(_resume)
    made.command("remove")(_remove)
    made.command("test")(_test)
    made.command("deliveries")(_deliveries)
    made.command("resend")(_resend)
    app.add_typer(made, name="webhook")


def _add(
    name: Name,
    url: Annotated[str, typer.Argument(help="Where events are posted to: https://HOST/PATH")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", "-k", help="A kind, or kind=word: alert, version=Production, 'run ended=failed'; may be given again. Default: all."
        ),
    ] = None,
    on: Annotated[list[str] | None, typer.Option("--on", help="Only of experiment:NAME or model:NAME; may be given again.")] = None,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Add an endpoint, and show its secret, this once. `stratal server` delivers."""
    use(store)
    added = add_webhook(name, url, events=event or (), on=on or ())
    if json:
        print_json(added)
        return
    print_out(f"Added. Its secret, which is shown this once: {added.secret}", f"Try it: stratal webhook test {name}")


def _list(json: Json = False, store: StoreUrl = None) -> None:
    """List endpoints; secrets are never shown."""
    use(store)
    found = webhooks()
    if json:
        print_json(found)
    elif not found:
        print_out("No webhooks. Add one: stratal webhook add NAME https://HOST/PATH --event version=Production")
    else:
        page = table("webhook", "url", "events", "of", "state", "waiting", "dead", "by", "added (UTC)", numbers=["waiting", "dead"])
        for hook in found:
            state = cell("on") if hook.paused_ns is None else cell(f"paused since {moment(hook.paused_ns)[:16]}", "yellow")
            page.add_row(
                cell(hook.name, "bold"), cell(hook.url), cell(", ".join(hook.events) or "all"), cell(", ".join(hook.on) or "all"), state,
                cell(hook.waiting), cell(hook.dead, "red" if hook.dead else ""), cell(hook.author), cell(moment(hook.at_ns)[:16]),
            )  # fmt: skip
        print_out(page)


def _pause(name: Name, json: Json = False, store: StoreUrl = None) -> None:
    """Send nothing to an endpoint until it is resumed; what happens meanwhile waits for it."""
    use(store)
    was_on = pause_webhook(name)
    if json:
        print_json({"paused": name, "changed": was_on})
    else:
        print_out(f"Paused the webhook {name}: what happens waits for it." if was_on else f"The webhook {name} is paused already.")


def _resume(name: Name, json: Json = False, store: StoreUrl = None) -> None:
    """Send to an endpoint again, first what has waited for it."""
    use(store)
    was_paused = resume_webhook(name)
    if json:
        print_json({"resumed": name, "changed": was_paused})
    else:
        print_out(f"Resumed the webhook {name}: what waits for it goes out." if was_paused else f"The webhook {name} is not paused.")


def _remove(name: Name, json: Json = False, store: StoreUrl = None) -> None:
    """Forget an endpoint, what waits for it, and its log."""
    use(store)
    remove_webhook(name)
    if json:
        print_json({"removed": name})
    else:
        print_out(f"Removed the webhook {name}.")


def _test(name: Name, json: Json = False, store: StoreUrl = None) -> None:
    """Send an event of the kind `test` now. Exits with 1 if it was not taken."""
    use(store)
    done = try_webhook(name)
    if json:
        print_json(done)
    elif done.state == "delivered":
        print_out(f"Delivered: {done.status}.")
    else:
        print_out(cell(f"Not delivered: {done.error or 'no answer yet'}. It is tried again, see: stratal webhook deliveries {name}"))
    if done.state != "delivered":
        raise typer.Exit(1)


def _deliveries(
    name: Annotated[str | None, typer.Argument(help="Only of this webhook.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.")] = 50,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List deliveries, the newest first, with their last answers."""
    use(store)
    found = deliveries(name, limit=limit)
    if json:
        print_json(found)
    elif not found:
        print_out("No deliveries.")
    else:
        page = table("delivery", "webhook", "event", "about", "state", "tries", "answer", "next (UTC)", numbers=["tries"])
        for each in found:
            page.add_row(*_row(each))
        print_out(page)


def _resend(name: Name, json: Json = False, store: StoreUrl = None) -> None:
    """Put the dead deliveries of an endpoint on their way again, with their ids."""
    use(store)
    count = resend(name)
    if json:
        print_json({"resent": count})
    else:
        print_out(f"{count:,} dead deliveries of {name} are on their way again." if count else f"No delivery of {name} is dead.")


def _row(each: Delivery) -> list[Text]:
    about = f"run:{short(each.subject)}" if each.subject.startswith("run:") else each.subject
    answer = each.error or (str(each.status) if each.status is not None else "")
    due = moment(each.due_ns) if each.state == "waiting" else ""
    return [
        cell(short(each.id)), cell(each.webhook), cell(each.kind), cell(about), cell(each.state, _COLOURS.get(each.state, "")),
        cell(each.attempts), cell(answer), cell(due),
    ]  # fmt: skip
