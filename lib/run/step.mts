import { printable } from '../base/words.mts'

type Fact = {
  /** Reads as a fact: "has swap off". */
  name: string
  /** How many seconds an apply waits for the fact to hold, after its change or if it is an assertion. */
  within?: number
  /** Seconds that one check or change may take (default 60). */
  timeout?: number
  /** A change of an earlier step may make it untrue again, such as "runs what is configured". */
  follows?: boolean
  /** Its check makes objects of its own in the cluster and removes them. A plan, which only reads, skips it. */
  trial?: boolean
  /** Failed in a plan too, even with pending changes before it: an apply would stop here. */
  always?: boolean
  /** Where it fails the node itself is not well: a validation skips what follows on it, and the trials of the cluster. */
  vital?: boolean
  /** What to do when it fails. */
  hint?: string
}

/**
 * A check prints in words what differs, and nothing when the fact holds. A line that begins with "= " is evidence, not a
 * difference: "= database 4 MB of 2048 MB". A check only reads. If it fails itself (exit code, exception) the step has
 * failed. `look` is what an operator types to see the same; it is printed in runbooks.
 */
type AskedFromBastion = { check: () => Promise<string>; look: string }
type AskedOnNode = { check: string; look?: never }

/**
 * A change makes the fact true. A step without one is an assertion. If the change is a function, `byHand` is what an
 * operator types to make the same change; it is printed in runbooks.
 */
type MadeFromBastion = { change: () => Promise<void>; byHand: string }
type MadeOnNode = { change: string; byHand?: never }
type NotMade = { change?: never; byHand?: never }

/** A fact about the cluster, checked from the bastion. */
export type ClusterStep = Fact & AskedFromBastion & (MadeFromBastion | NotMade)

/** A fact about one node. Shell runs on the node as root, under bash with `set -euo pipefail`. */
export type NodeStep = Fact & (AskedFromBastion | AskedOnNode) & (MadeFromBastion | MadeOnNode | NotMade)

export type Step = ClusterStep | NodeStep

/**
 * Thrown by a check that has found what no change may be made with, such as two copies of a key that differ, or what no waiting
 * mends. As a failure of a step that is `always`, while other errors of the same check (the API is not there yet) fail as usual.
 */
export class Refusal extends Error {
  override name = 'Refusal'
}

/**
 * What a check found. `words` say what differs, or are ''. `failed`: the check itself failed. `blind`: it failed for this
 * reason, which other steps have too ("the API does not answer"), so the step's hint would not help. `refuses`: it threw a Refusal.
 */
export type Finding = { words: string; failed: boolean; blind?: string | undefined; refuses?: boolean; evidence?: string }

/** The finding of a check that ran: the evidence and what differs, separated. */
export const findingOf = (printed: string): Finding => {
  const lines = printable(printed).trim().split('\n')
  const evidence = lines.filter((line) => line.startsWith('= ')).map((line) => line.slice(2))
  const words = lines.filter((line) => !line.startsWith('= ')).join('\n').trim()
  return { words, failed: false, ...(evidence.length > 0 ? { evidence: evidence.join('\n') } : {}) }
}

export const holds = (finding: Finding | undefined): boolean =>
  finding !== undefined && !finding.failed && finding.words === ''

/** True where the check is shell for the node. */
export const isAskedOnNode = (step: Step): step is NodeStep & AskedOnNode => typeof step.check === 'string'

// Separates the checks in what a batch prints, on stdout and on stderr alike.
const mark = '\u001e'

export type Batch = {
  steps: (NodeStep & AskedOnNode)[]
  /** Shell to run before the first check. */
  change?: string
  /** The first step was just changed, by `change` or from the bastion. */
  changed?: boolean
  /** Wait for each fact as long as its `within`, and stop at the first that does not hold. */
  waiting: boolean
}

/** The script that runs many checks, and perhaps one change before them, in a single ssh command. */
export const batchScript = ({ steps, change, changed = change !== undefined, waiting }: Batch): string => {
  const functions = steps.map((step, index) => `check_${index}() {\nset -euo pipefail\n${step.check}\n}`)
  const calls = steps.map((step, index) => `look_at ${index} ${waiting ? waitFor(step, changed && index === 0) : 0}`)
  return `${functions.join('\n')}
nothing_differs() {
  local line
  while IFS= read -r line; do [[ -z $line || $line == '= '* ]] || return 1; done <<<"$1"
}
look_at() {
  local words code end=$((SECONDS + $2))
  printf '${mark}' >&2
  while :; do
    words=$(check_$1); code=$?
    if { [[ $code -eq 0 ]] && nothing_differs "$words"; } || ((SECONDS >= end)); then break; fi
    sleep 1
  done
  words=\${words//$'\\x1e'/?} # what a check prints may be somebody else's text
  printf '${mark}%s\\n%s' "$code" "$words"
  ${waiting ? 'if [[ $code -ne 0 ]] || ! nothing_differs "$words"; then exit 0; fi' : ':'}
}
${change === undefined ? '' : `( ${change}\n) >&2`}
set +e
${calls.join('\n')}`
}

// A fact with a change is waited for only after the change. Before it the wait would be useless.
const waitFor = (step: NodeStep, changed: boolean): number =>
  step.change === undefined || changed ? (step.within ?? 0) : 0

/** Reads what a batch printed: a finding for each check that ran, in order. */
export const batchFindings = ({ stdout, stderr }: { stdout: string; stderr: string }): Finding[] => {
  const errors = stderr.split(mark).slice(1)
  return stdout
    .split(mark)
    .slice(1)
    .map((part, index) => {
      const [code = '', ...lines] = part.split('\n')
      const words = lines.join('\n').trim()
      if (code === '0') return findingOf(words)
      return { words: printable([errors[index]?.trim(), words, `exit ${code}`].filter(Boolean).join('\n')), failed: true }
    })
}

/** True where the first check has begun, so that a change before it has ended. */
export const hasBegun = ({ stderr }: { stderr: string }): boolean => stderr.includes(mark)

/** Seconds that a batch may take in all. */
export const batchTimeout = ({ steps }: Batch): number =>
  60 + steps.reduce((sum, step) => sum + (step.timeout ?? 0) + (step.within ?? 0), 0)

/**
 * The step that a file has exactly this text (whole lines) and mode (default 0644), owned by root. The whole file is
 * replaced, never edited in place.
 */
export const fileStep = (path: string, text: string, { mode = '0644', name = `has ${path}` } = {}): NodeStep => ({
  name,
  check: `if [[ ! -f ${path} ]]; then echo '${path} is missing'; exit; fi
cmp --silent - ${path} <<'END' || echo '${path} differs'
${whole(text)}END
mode=$(stat -c '0%a %U' ${path}); [[ $mode == '${mode} root' ]] || echo "${path} is $mode"`,
  change: `install -d "$(dirname ${path})"
umask 077
cat > ${path}.new <<'END'
${whole(text)}END
chown root:root ${path}.new
chmod ${mode} ${path}.new
mv ${path}.new ${path}`
})

const whole = (text: string): string => {
  if (text !== '' && !text.endsWith('\n')) throw new Error('the text of a file must end with a line break')
  if (/^END$/m.test(text)) throw new Error('the text of a file must not have the line END')
  return text
}
