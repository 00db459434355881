"""`scorewire records status`: the ledger, and what is wrong."""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import datetime, timedelta

import click

from scorewire_records.cli.reading import any_reader
from scorewire_records.cli.selecting import Time
from scorewire_records.ledger_report import Gap, LedgerReport, StartLedger
from scorewire_records.reader import Reader

_EPILOG = """
\b
Examples:
  What became of every row, and whether something is wrong:
    scorewire records status --records records/

\b
  What a database has, which need not have all yet:
    scorewire records status --from postgresql://reader@db.example/records

\b
  For a monitor, without losses that are older than a week:
    scorewire records status --records records/ --since 7d --json

Each start of a server has a ledger, in rows:

\b
  offered = sampled out + dropped + spooled
  spooled = stored + pending + set aside + expired

A policy samples out. Rows are dropped if a bound is reached: the ring of a thread, the
spool, the disk. Damaged rows are set aside in DIR/_spool/_damaged. Expired rows were
stored until their retention was over. "(killed)" is a server that did not stop in order: what
it had answered in the last 50 ms is not counted.

Gaps are sequence numbers without a record. Those that were dropped are accounted for.

\b
Exit code: 0 if nothing is wrong, 1 if something is, 2 if the command was used wrongly.
"""

_UNWRITTEN = {"running": "are not on the disk yet", "open": "are not stored yet"}


@click.command(epilog=_EPILOG)
@any_reader
@click.option(
    "--since", type=Time(), help="Leave out starts before this time, like 2026-11-29 or 7d, that are done."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
def status(*, reader: Reader, since: datetime | None, as_json: bool) -> None:
    """Show the ledger of each start, and what is wrong."""
    report = reader.report(since)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        _show(report)
    sys.exit(1 if report.problems else 0)


def _show(report: LedgerReport) -> None:
    for ledger in report.ledgers:
        engine = f"{ledger.engine}, " if ledger.engine else ""
        click.echo(f"Start {ledger.start}, {ledger.created[:19]}Z, {engine}{ledger.state}")
        _show_sums([ledger])
        for gap in ledger.gaps:
            click.echo(f"  writer {gap.writer}: of {gap.given:,} sequence numbers, {_gap(ledger, gap)}")
    click.echo("Total")
    _show_sums(report.ledgers)
    click.echo(_shipper(report))
    for problem in report.problems:
        click.secho(f"Problem: {problem}", fg="red")


def _show_sums(ledgers: list[StartLedger]) -> None:
    dropped = Counter[str]()
    for ledger in ledgers:
        dropped.update(ledger.dropped)
    sums = {
        name: sum(getattr(each.counts, name) for each in ledgers)
        for name in ("seen", "stored", "pending", "set_aside", "expired")
    }
    sampled_out = sum(each.sampled_out for each in ledgers)
    missing = sum(each.missing for each in ledgers)
    causes = ", ".join(f"{cause} {rows:,}" for cause, rows in dropped.items() if rows)
    click.echo(
        f"  offered {sum(each.offered for each in ledgers):,} = sampled out {sampled_out:,}"
        f" + dropped {dropped.total():,}{f' ({causes})' if causes else ''} + spooled {sums['seen']:,}"
    )
    click.echo(
        f"  spooled {sums['seen']:,} = stored {sums['stored']:,} + pending {sums['pending']:,}"
        f" + set aside {sums['set_aside']:,} + expired {sums['expired']:,}"
        f"{f' + lost by the store {missing:,}' if missing else ''}"
    )


def _gap(ledger: StartLedger, gap: Gap) -> str:
    what = _UNWRITTEN.get(ledger.state, "were not written before the end")
    told = {f"{gap.dropped:,} were dropped": gap.dropped, f"{gap.unwritten:,} {what}": gap.unwritten}
    return ", ".join(text for text, count in told.items() if count)


def _shipper(report: LedgerReport) -> str:
    if report.database:
        return f"This is as far as {report.database} has it; --records has what waits in the spool."
    where = f" to {report.shipper.store}" if report.shipper else ""
    works = f"A shipper moves records{where}" if report.shipper_works else "No shipper works"
    waiting = f"{report.pending_bytes / (1 << 20):,.1f} MiB are in the spool"
    since = f", the oldest for {timedelta(seconds=round(report.lag_s))}" if report.lag_s else ""
    return f"{works}; {waiting}{since}."
