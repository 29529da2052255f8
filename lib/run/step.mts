import { createHash } from 'node:crypto'

/** One fact about a host or the cluster, how it is checked, and how it is made so. */
export type Step = {
  /** Reads as a fact: "has swap off". */
  name: string
  /**
   * Prints in words what differs, and nothing when the fact holds. A line that begins with "= " is evidence, which a
   * fact that holds may have too: "= database 4 MB of 2048 MB". Shell for the node, run as root, or a function on the
   * bastion. It only reads; a check that fails (exit code, exception) could not tell, which is a failure.
   */
  check: string | (() => Promise<string>)
  /** Makes it so. A step without a change is an assertion. */
  change?: string | (() => Promise<void>)
  /** Seconds for which an apply waits for the fact to hold, once it was changed or where it is an assertion. */
  within?: number
  /** Seconds that one check or change may take (default 60). */
  timeout?: number
  /** It may stop holding when an earlier step of the list is changed, such as "runs what is configured". */
  follows?: boolean
  /** Its check makes objects of its own in the cluster and removes them. A plan, which only reads, leaves it out. */
  trial?: boolean
  /** Told as failed in a plan too, whatever is pending: an apply would refuse. */
  always?: boolean
  /** What to do when it fails. */
  hint?: string
}

/**
 * What a check found: words that say what differs, or none; `failed` where the check itself could not tell, `blind`
 * where that is nothing of its step's: what is to be done for the step would not help.
 */
export type Finding = { words: string; failed: boolean; blind?: boolean; evidence?: string }

/** The finding of a check that ran: evidence apart from what differs. */
export const findingOf = (printed: string): Finding => {
  const lines = printed.trim().split('\n')
  const evidence = lines.filter((line) => line.startsWith('= ')).map((line) => line.slice(2))
  const words = lines.filter((line) => !line.startsWith('= ')).join('\n').trim()
  return { words, failed: false, ...(evidence.length > 0 ? { evidence: evidence.join('\n') } : {}) }
}

export const holds = (finding: Finding | undefined): boolean =>
  finding !== undefined && !finding.failed && finding.words === ''

// Separates the checks in what a batch prints, on stdout and on stderr alike.
const mark = '\u001e'

export type Batch = {
  /** The checks, all of them shell. */
  steps: Step[]
  /** Shell to run before the first check. */
  change?: string
  /** The first step was just changed, by `change` or from the bastion. */
  changed?: boolean
  /** Wait for each fact as long as its step says, and stop at the first that does not hold. */
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
  printf '${mark}%s\\n%s' "$code" "$words"
  ${waiting ? 'if [[ $code -ne 0 ]] || ! nothing_differs "$words"; then exit 0; fi' : ':'}
}
${change === undefined ? '' : `( ${change}\n) >&2`}
set +e
${calls.join('\n')}`
}

// A fact that has a change is waited for only once the change was made: before, waiting for it would be in vain.
const waitFor = (step: Step, changed: boolean): number =>
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
      return { words: [errors[index]?.trim(), words, `exit ${code}`].filter(Boolean).join('\n'), failed: true }
    })
}

/** Seconds that a batch may take in all. */
export const batchTimeout = ({ steps }: Batch): number =>
  60 + steps.reduce((sum, step) => sum + (step.timeout ?? 0) + (step.within ?? 0), 0)

/**
 * The step that a file has exactly this text and mode (default 0644), owned by root. It is replaced whole, never
 * edited in place, and its text never shows: the check compares SHA-256 sums.
 */
export const fileStep = (path: string, text: string, { mode = '0644', name = `has ${path}` } = {}): Step => {
  const sha256 = createHash('sha256').update(text).digest('hex')
  return {
    name,
    check: `if [[ ! -f ${path} ]]; then echo "${path} is missing"; exit; fi
echo '${sha256}  ${path}' | sha256sum --check --status || echo "${path} differs"
mode=$(stat -c '0%a %U' ${path}); [[ $mode == '${mode} root' ]] || echo "${path} is $mode"`,
    change: `install -d "$(dirname ${path})"
umask 077
base64 -d > ${path}.new <<'END'
${Buffer.from(text).toString('base64').replaceAll(/.{76}/g, '$&\n')}
END
chown root:root ${path}.new
chmod ${mode} ${path}.new
mv ${path}.new ${path}`
  }
}
