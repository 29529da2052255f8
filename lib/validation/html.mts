import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Outcome } from '../run/modes.mts'
import { count, type Section } from '../run/report.mts'
import { redact } from '../input/secrets.mts'
import { duration, plural } from '../base/words.mts'

/** What a report is made of. */
export type Result = {
  title: string
  environment: string
  date: Date
  exitCode: number
  seconds: number
  sections: Section[]
  /** What runs, by name: "K3s": "v1.36.5+k3s1". */
  versions: Record<string, string>
  /** What was measured besides. One without rows is left out. */
  tables?: Table[]
  /** What failed after the checks, such as "the failover drill". */
  failed?: string | undefined
}

/** A table of the page. The first cell of a row names it; the others are numbers. */
export type Table = { heading: string; intro: string; columns: string[]; rows: Cell[][] }

/** What stands in a cell, and below it in small print, perhaps after the name of a host. */
type Cell = { text: string; name?: string; small?: string }

// Text from outside becomes markup only here: secrets are struck out of it, then it is escaped.
type Markup = { markup: string }
type Part = string | number | Markup | undefined | Part[]

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

// Colours of a terminal, other control characters, and those that change the direction of text.
const unprintable = /\u001b\[[\d;]*m|[\0-\x08\v-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]/g

const escape = (text: string): string =>
  redact(text).replaceAll(unprintable, '').toWellFormed().replaceAll(/[&<>"']/g, (sign) => entities[sign]!)

const markupOf = (part: Part): string => {
  if (part === undefined) return ''
  if (Array.isArray(part)) return part.map(markupOf).join('')
  return typeof part === 'object' ? part.markup : escape(String(part))
}

const html = (strings: TemplateStringsArray, ...parts: Part[]): Markup => ({
  markup: strings.map((text, index) => text + markupOf(parts[index])).join('')
})

const style = readFileSync(join(import.meta.dirname, 'html.css'), 'utf8')

/** One self-contained page that a manager can read: the verdict, what fails, and every fact with its evidence. */
export const renderHtml = (result: Result): string => {
  const { title, environment, date, sections } = result
  const verdict = verdictOf(result)
  const failures = failuresOf(sections)
  const day = `${date.toISOString().slice(0, 10)} ${date.toISOString().slice(11, 16)} UTC`
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${verdict.sign} ${verdict.words} · ${environment} · ${day}</title>
<style>
${{ markup: style }}</style>
</head>
<body>
<header class="${verdict.tone}">
<p class="over">${title} · ${environment}</p>
<h1><span class="sign ${verdict.tone}" aria-hidden="true">${verdict.sign}</span> ${verdict.words}</h1>
<p>${plural(hostsOf(sections).length, 'host')} looked at on <time datetime="${date.toISOString()}">${longDate(date)}</time>, in ${duration(result.seconds)}.</p>
${versionsOf(result)}</header>
<main>
<section aria-label="Summary">
<ul class="tiles${sections.length % 4 === 0 ? ' four' : ''}">
${sections.map(tile)}</ul>
</section>
${failures.length === 0 ? undefined : html`<section>
<h2>What does not hold</h2>
<ul class="failures">
${failures.map(card)}</ul>
</section>
`}${result.tables?.map(givenTable)}${hostTable(sections)}<section>
<h2>Every check, and its evidence</h2>
${sections.map((section) => facts(section, sections))}</section>
</main>
<footer>
<p>A check is a fact that was looked up at the time above, on the host itself or in the cluster. What it is about may have changed since.</p>
<p>Exit code ${result.exitCode}.</p>
</footer>
</body>
</html>
`.markup
}

type Tone = 'good' | 'bad' | 'open'
type Verdict = { tone: Tone; sign: string; words: string }

const signs: Record<Tone, string> = { good: '✓', bad: '✗', open: '?' }
const tones: Record<Outcome['result'], Tone> = { ok: 'good', changed: 'good', pending: 'open', unknown: 'open', failed: 'bad', skipped: 'open' }
const verbs: Record<Outcome['result'], string> = {
  ok: 'holds', changed: 'holds since it was changed', pending: 'does not hold yet', unknown: 'is not known', failed: 'fails', skipped: 'was skipped'
}

// The target of steps that concern no single host.
const cluster = 'cluster'

type Fact = { section: Section; target: string; outcome: Outcome }

const factsOf = (sections: Section[]): Fact[] =>
  sections.flatMap((section) =>
    [...section.hosts].flatMap(([target, outcomes]) => outcomes.map((outcome) => ({ section, target, outcome }))))

const hostsOf = (sections: Section[]): string[] =>
  [...new Set(factsOf(sections).map(({ target }) => target))].filter((target) => target !== cluster).toSorted()

const verdictOf = ({ sections, exitCode, failed: after }: Result): Verdict => {
  const all = factsOf(sections)
  const failed = all.filter(({ outcome }) => outcome.result === 'failed')
  const open = all.filter(({ outcome }) => tones[outcome.result] === 'open')
  const of = `of ${plural(all.length, 'check')}`
  if (failed.length > 0) {
    const words = `${failed.length} ${of} ${failed.length === 1 ? 'fails' : 'fail'} ${placesOf(failed)}`
    return { tone: 'bad', sign: signs.bad, words }
  }
  if (all.length === 0) return { tone: 'open', sign: signs.open, words: 'Nothing was checked' }
  if (open.length > 0) {
    return { tone: 'open', sign: signs.open, words: `${open.length} ${of} ${open.length === 1 ? 'does' : 'do'} not hold yet` }
  }
  if (after !== undefined) return { tone: 'bad', sign: signs.bad, words: `All ${all.length} checks hold, but ${after} failed` }
  if (exitCode !== 0) return { tone: 'open', sign: signs.open, words: `It did not come to its end: ${plural(all.length, 'check')} hold so far` }
  return { tone: 'good', sign: signs.good, words: `The cluster is fit: ${all.length === 1 ? 'its one check holds' : `all ${all.length} checks hold`}` }
}

// "on 2 hosts and for the cluster as a whole"
const placesOf = (facts: Fact[]): string => {
  const targets = new Set(facts.map(({ target }) => target))
  const hosts = [...targets].filter((target) => target !== cluster).length
  return [hosts > 0 ? `on ${plural(hosts, 'host')}` : '', targets.has(cluster) ? 'for the cluster as a whole' : '']
    .filter(Boolean).join(' and ')
}

const longDate = (date: Date): string => {
  const options = { timeZone: 'UTC', hourCycle: 'h23' } as const
  return `${date.toLocaleDateString('en-GB', { ...options, dateStyle: 'long' })}, ${date.toLocaleTimeString('en-GB', { ...options, timeStyle: 'short' })} UTC`
}

const versionsOf = ({ versions }: Result): Part =>
  Object.keys(versions).length === 0 ? undefined : html`<dl class="versions">
${Object.entries(versions).map(([name, version]) => html`<div><dt>${name}</dt><dd>${version}</dd></div>
`)}</dl>
`

// "✓ 96 hold", "✗ 2 of 96 fail".
const tally = (outcomes: Outcome[]): Markup => {
  const { ok, change, unknown, failed } = count(outcomes)
  const changed = outcomes.filter(({ result }) => result === 'changed').length
  const open = change + unknown - changed
  const total = outcomes.length
  const [tone, words]: [Tone, string] =
    failed > 0 ? ['bad', `${failed} of ${total} ${failed === 1 ? 'fails' : 'fail'}`]
      : open > 0 ? ['open', `${open} of ${total} not yet`]
        : total === 0 ? ['open', 'nothing checked']
          : ['good', `${ok + changed} ${ok + changed === 1 ? 'holds' : 'hold'}`]
  return html`<span class="${tone}"><span class="sign" aria-hidden="true">${signs[tone]}</span> ${words}</span>`
}

const outcomesOf = ({ hosts }: Section): Outcome[] => [...hosts.values()].flat()

const tile = (section: Section): Markup => {
  const failed = count(outcomesOf(section)).failed > 0
  return html`<li><a href="#${anchor(section)}"${failed ? html` class="bad-tile"` : undefined}><small>${section.id}</small><strong>${section.title}</strong><em>${tally(outcomesOf(section))}</em></a></li>
`
}

const anchor = ({ id }: Section): string => `facts-${id}`

// Facts that differ only in the host's own name or address are one fact, where no host has it twice.
const pattern = ({ outcome, target }: Fact): string =>
  outcome.step.replaceAll(/[\w-]+/g, (word) => (word === target ? 'its own name' : word)).replaceAll(address, '…')

const address = /\b\d+\.\d+\.\d+\.\d+\b/g

type Group = { name: string; facts: Fact[] }

const groupBy = (facts: Fact[], key: (fact: Fact) => string): Fact[][] => [...Map.groupBy(facts, key).values()]

const grouped = (facts: Fact[]): Group[] =>
  groupBy(facts, pattern).flatMap((alike) => {
    const exact = groupBy(alike, ({ outcome }) => outcome.step)
    const once = new Set(alike.map(({ target }) => target)).size === alike.length
    if (once && exact.length > 1) return [{ name: pattern(alike[0]!), facts: alike }]
    return exact.map((same) => ({ name: same[0]!.outcome.step, facts: same }))
  })

const unique = (texts: string[]): string[] => [...new Set(texts)]

type Failure = { name: string; tone: Tone; verb: string; scripts: Section[]; found: { targets: string[]; words: string; hint: string }[] }

// The same fact of several hosts or scripts is told once, with what was found where.
const failuresOf = (sections: Section[]): Failure[] => {
  const bad = factsOf(sections).filter(({ outcome }) => tones[outcome.result] !== 'good')
  const failures = groupBy(bad, (fact) => `${fact.outcome.result} ${pattern(fact)}`).map((facts): Failure => {
    const { result, step } = facts[0]!.outcome
    const alike = groupBy(facts, (fact) => JSON.stringify([toldOf(fact), fact.outcome.hint]))
    return {
      name: facts.every(({ outcome }) => outcome.step === step) ? step : pattern(facts[0]!),
      tone: tones[result],
      verb: verbs[result],
      scripts: [...new Set(facts.map(({ section }) => section))],
      found: alike.map((same) => ({
        targets: unique(same.map(({ target }) => target)),
        words: toldOf(same[0]!),
        hint: same[0]!.outcome.hint ?? ''
      }))
    }
  })
  return failures.toSorted((a, b) => Number(b.tone === 'bad') - Number(a.tone === 'bad'))
}

const card = ({ name, tone, verb, scripts, found }: Failure): Markup => {
  const hints = unique(found.map(({ hint }) => hint))
  const remedy = (hint: string): Part => (hint === '' ? undefined : html`<p class="remedy"><b>What to do:</b> ${hint}</p>
`)
  return html`<li${tone === 'open' ? html` class="open-card"` : undefined}>
<h3><span class="sign ${tone}" aria-hidden="true">${signs[tone]}</span> ${name}</h3>
<p class="from">${verb} · ${scripts.map(({ id, title }) => `${id} ${title}`).join(', ')}</p>
${found.map(({ targets, words, hint }) => html`<div class="found"><p class="hosts">${list(targets)}</p>
${words === '' ? undefined : html`<span class="words">${words}</span>
`}${hints.length > 1 ? remedy(hint) : undefined}</div>
`)}${hints.length === 1 ? remedy(hints[0]!) : undefined}</li>
`
}

type Grid = { heading: string; id: string; intro?: string; kind?: string; columns: Part[]; rows: { name: Part; cells: Part[] }[] }

const grid = ({ heading, id, intro, kind, columns: [first, ...columns], rows }: Grid): Markup => html`<section>
<h2 id="${id}">${heading}</h2>
${intro === undefined ? undefined : html`<p class="soft">${intro}</p>
`}<div class="scroll" role="region" aria-labelledby="${id}" tabindex="0">
<table${kind === undefined ? undefined : html` class="${kind}"`}>
<thead><tr><th scope="col">${first}</th>${columns.map((column) => html`<th scope="col" class="number">${column}</th>`)}</tr></thead>
<tbody>
${rows.map(({ name, cells }) => html`<tr><th scope="row">${name}</th>${cells.map((cell) => html`<td class="number">${cell}</td>`)}</tr>
`)}</tbody>
</table>
</div>
</section>
`

const givenTable = ({ heading, intro, columns, rows }: Table, index: number): Part =>
  rows.length === 0 ? undefined : grid({
    heading, intro, columns, id: `table-${index + 1}`,
    rows: rows.map((row) => row.map(cellOf)).map(([name, ...cells]) => ({ name, cells }))
  })

const cellOf = ({ text, name, small }: Cell): Part => {
  if (small === undefined) return text
  return html`${text}<small>${name === undefined ? undefined : [nameOf(name), ': ']}${small}</small>`
}

const hostTable = (sections: Section[]): Part => {
  const targets = [...hostsOf(sections), ...(factsOf(sections).some(({ target }) => target === cluster) ? [cluster] : [])]
  if (targets.length === 0 || sections.length < 2) return undefined
  const cell = (section: Section, target: string): Part => {
    const outcomes = section.hosts.get(target)
    return outcomes ? tally(outcomes) : html`<span class="none">–</span>`
  }
  return grid({
    heading: 'By host', id: 'hosts', kind: 'grid',
    columns: ['Host', ...sections.map(({ id, title }) => html`<abbr title="${title}">${shortId(id)}</abbr>`)],
    rows: targets.map((target) => ({ name: nameOf(target), cells: sections.map((section) => cell(section, target)) }))
  })
}

const shortId = (id: string): string => id.split('_').at(-1)!

const facts = (section: Section, sections: Section[]): Markup => {
  const outcomes = outcomesOf(section)
  const all = factsOf([section])
  const rank = ({ facts: [fact] }: Group): number => ['bad', 'open', 'good'].indexOf(tones[fact!.outcome.result])
  const groups = groupBy(all, ({ outcome }) => tones[outcome.result]).flatMap(grouped).toSorted((a, b) => rank(a) - rank(b))
  const isOpen = section === sections.at(-1) || count(outcomes).failed > 0
  const isBare = groups.every(({ name, facts }) => !name.includes('…') && facts.every((fact) => toldOf(fact) === ''))
  return html`<details class="script"${isOpen ? html` open` : undefined}>
<summary><h3>${section.title} <small>${section.id}</small></h3><span class="count">${tally(outcomes)} <span class="soft">· ${duration(section.seconds)}</span></span></summary>
<div class="facts${isBare ? ' bare' : ''}" id="${anchor(section)}">
<table>
<colgroup><col class="fact"><col class="where"><col></colgroup>
<thead><tr><th scope="col">Fact</th><th scope="col">Where</th><th scope="col">Evidence</th></tr></thead>
<tbody>
${groups.map((group) => row(group, hostsOf(sections).length))}</tbody>
</table>
</div>
</details>
`
}

const row = ({ name, facts }: Group, hosts: number): Markup => {
  const { result } = facts[0]!.outcome
  const tone = tones[result]
  const verb = result === 'ok' ? html`<span class="unseen">${verbs[result]}</span>` : html`<small class="${tone} verb">${verbs[result]}</small>`
  return html`<tr><th scope="row"><span class="sign ${tone}" aria-hidden="true">${signs[tone]}</span>${name} ${verb}</th><td>${where(facts, hosts)}</td>${told(name, facts)}</tr>
`
}

const where = (facts: Fact[], hosts: number): Part => {
  const names = facts.map(({ target }) => target)
  return names.length > 1 && names.length === hosts && !names.includes(cluster) ? `all ${hosts} hosts` : list(names)
}

const nameOf = (target: string): Markup => html`<span class="name">${target === cluster ? 'the cluster' : target}</span>`

// "k3s-master-01, k3s-worker-01 to 05": hosts that are numbered are told by their numbers.
const list = (targets: string[]): Part => {
  const stems = Map.groupBy(targets, (target) => target.replace(/\d+$/, ''))
  return [...stems].flatMap(([stem, names]) => {
    const numbers = names.map((name) => name.slice(stem.length)).toSorted()
    const isRun = numbers.length > 2 && numbers.every((number, index) => index === 0 || Number(number) === Number(numbers[index - 1]) + 1)
    const rest = isRun ? [` to ${numbers.at(-1)}`] : numbers.slice(1).map((number) => `, ${number}`)
    return [', ', nameOf(`${stem}${numbers[0]}`), ...rest]
  }).slice(1)
}

// What a fact's evidence is, or what was found instead.
const toldOf = ({ outcome: { words, evidence } }: Fact): string => [words, evidence].filter(Boolean).join('\n')

const told = (name: string, facts: Fact[]): Markup => {
  // The address that the fact's common name leaves out, then the evidence.
  const left = (step: string): string[] => (name.includes('…') && step !== name ? (step.match(address) ?? []) : [])
  const texts = facts.map((fact) => [...left(fact.outcome.step), toldOf(fact)].filter(Boolean).join('\n'))
  if (unique(texts).length === 1) return html`<td class="${texts[0] === '' ? 'none' : 'words'}">${texts[0]}</td>`
  const pairs = html`<dl class="pairs">${facts.map(({ target }, index) => html`<div><dt>${nameOf(target)}</dt><dd class="words">${texts[index]}</dd></div>
`)}</dl>`
  if (facts.length <= 3) return html`<td>${pairs}</td>`
  return html`<td><details class="each"><summary>differs by host</summary>${pairs}</details></td>`
}
