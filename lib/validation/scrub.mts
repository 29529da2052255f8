import { redact } from '../input/secrets.mts'

const gone = '[secret]'

// What follows such a name is a secret, in YAML, JSON, logs and arguments alike.
const names = [
  'pass(?:word|wd|phrase)', '_pwd', 'token', 'secret', 'credentials?', 'client-key-data', 'api[-_]?key',
  '(?:access|private|secret|signing|encryption)[-_]?key(?:[-_]?id)?'
].join('|')
const quoted = String.raw`\\*"(?:[^"\\\n])*\\*"|'[^'\n]*'`

// Switches, numbers, paths, references ("<set to the key ...>") and the next flag are no secrets.
const isHarmless = (value: string): boolean =>
  /^(?:true|false|null|none|nil|yes|no|\d{1,3}|[/<[{|>*$-].*|)$/i.test(value.replaceAll(/^[\\"']+|[\\"']+$/g, ''))

// Keeps the quotes around a value, so that JSON stays JSON.
const struck = (value: string): string => {
  if (isHarmless(value)) return value
  const quote = /^(?:\\*"|')/.exec(value)?.[0] ?? ''
  return `${quote}${gone}${quote}`
}

type Rule = [RegExp, string | ((match: string, ...groups: string[]) => string)]

const key = String.raw`PRIVATE KEY[A-Z ]{0,10}-----`
const rules: Rule[] = [
  // Private keys: whole ones, then those whose end was cut off.
  [new RegExp(String.raw`-----BEGIN [A-Z0-9 ]{0,30}${key}[\s\S]{0,10000}?-----END [A-Z0-9 ]{0,30}${key}`, 'g'), '[private key]'],
  [new RegExp(String.raw`-----BEGIN [A-Z0-9 ]{0,30}${key}[\s\S]{0,10000}`, 'g'), '[private key]'],
  // Any PEM in base64, as in a kubeconfig; only some are private.
  [/LS0tLS1CRUdJTi[\w+/=-]+/g, '[PEM]'],
  // K3s's tokens, bootstrap tokens, service accounts' tokens, and those of others that are known by how they begin.
  [/K10[0-9a-f]{16,}(?:::[^\s"'\\,]+)?/g, gone],
  [/\b[a-z0-9]{6}\.[a-z0-9]{16}\b/g, gone],
  [/\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?/g, gone],
  [/\b(?:hv[sbr]\.[\w-]{20,}|gh[pousr]_\w{20,}|glpat-[\w-]{20,}|xox[baprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|AGE-SECRET-KEY-\w+)/g, gone],
  [/(\bauthorization\\*["']?\s*[:=]\s*\\*["']?)(?:[\w-]+[ \t]+)?[^\s"',\\]+/gi, `$1${gone}`],
  [/(\bbearer[ \t]+)[\w.~+/=-]{8,}/gi, `$1${gone}`],
  [/(\bcookie\\*["']?[ \t]*:[ \t]*\\*["']?)[^"'\\\n]+/gi, `$1${gone}`],
  [/(:\/\/)[^/\s"'@]+@/g, `$1${gone}@`],
  // What a request asks for is a visitor's own.
  [/\?[\w.%~[\]-]+=[^\s"'<>\\)]*/g, '?[cut]'],
  // An environment variable of a pod: name and value are apart.
  [
    new RegExp(String.raw`(\bname\\*["']?[ \t]*:[ \t]*\\*["']?[\w.-]{0,80}?(?:PASS|PWD|TOKEN|SECRET|KEY|CREDENTIAL)[\w.-]{0,40}\\*["']?\s*,?\s*\\*["']?value\\*["']?[ \t]*:[ \t]*)(${quoted}|[^\s,}\]]+)`, 'gi'),
    (_, before, value) => before! + struck(value!)
  ],
  // A block of YAML, then a value on the line of its name, then an argument.
  [
    new RegExp(String.raw`^([ \t]*)([^\n]{0,200}?(?:${names})["']?[ \t]*:[ \t]*[|>][-+\d]*)[ \t]*\n(?:(?:\1[ \t]+[^\n]*|[ \t]*)\n)*`, 'gim'),
    (_, indent, before) => `${indent}${before} ${gone}\n`
  ],
  [
    new RegExp(String.raw`((?:${names})\\*["']?[ \t]*[:=][ \t]*)(${quoted}|[^\s,;}\])"']+)`, 'gi'),
    (_, before, value) => before! + struck(value!)
  ],
  [
    new RegExp(String.raw`((?<![\w-])--?[\w-]{0,40}(?:${names})\\*["']?(?:,\s*|\s+)(?:-\s+)?)(${quoted}|[^\s,;}\])"']+)`, 'gi'),
    (_, before, value) => before! + struck(value!)
  ]
]

// A private key whose beginning is missing, as where only the last lines of a log were read.
const withoutTail = (text: string): string => {
  const end = /-----END [A-Z0-9 ]{0,30}PRIVATE KEY[A-Z ]{0,10}-----/.exec(text)
  if (!end) return text
  return `${text.slice(0, Math.max(0, end.index - 10_000))}[private key]${withoutTail(text.slice(end.index + end[0].length))}`
}

// How a secret looks in base64 of a longer text. That depends on where it begins there: there are three ways. Its first
// and last characters depend on what stands beside it, so they are left out.
const encodings = (secret: string): string[] =>
  [0, 1, 2].map((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(secret)])
    const from = Math.ceil((before * 4) / 3)
    return bytes.toString('base64').slice(from, Math.floor((bytes.length * 4) / 3))
  })

/**
 * Makes the function that strikes out of a text the given secrets, in any form, and everything that looks like a secret.
 * It takes too much rather than too little: use it for what is given away, not for what an operator reads.
 */
export const scrubber = (secrets: Iterable<string>): ((text: string) => string) => {
  const long = [...new Set(secrets)].filter((secret) => secret.length >= 8).toSorted((a, b) => b.length - a.length)
  const forms = long.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), ...encodings(secret)])
  return (text) => {
    let clean = redact(text)
    for (const form of new Set(forms)) clean = clean.replaceAll(form, gone)
    for (const [pattern, to] of rules) clean = typeof to === 'string' ? clean.replaceAll(pattern, to) : clean.replaceAll(pattern, to)
    return withoutTail(clean)
  }
}
