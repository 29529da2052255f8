// Runs the test files of the given suites, each in a process of its own:  node test/run.mts unit lab
// The suites are unit, lab and long; long is what of the lab does not run in `npm test`.
// A file that ran no test has failed: with uvu, a throwing `before` would pass.

import { spawn, spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { freemem, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import pMap from 'p-map'

type Suite = {
  files: string[]
  /** Files that run at once. */
  atOnce: number
}

const suites: Record<string, Suite> = {
  // They wait for processes most of the time.
  unit: { files: globSync('test/unit/**/*.test.mts').toSorted(), atOnce: 3 },
  // In this order: each works on the cluster that the ones before it have left.
  lab: { files: globSync('test/lab/tests/*.test.mts').toSorted(), atOnce: 1 },
  long: { files: globSync('test/lab/long/*.test.mts').toSorted(), atOnce: 1 }
}

type Result = {
  file: string
  seconds: number
  passed: number
  failed: number
  tests: { name: string; seconds: number }[]
  /** GiB that were left at its end. */
  disk: number
  memory: number
  /** What it printed of its failures: who reads only the end of a log sees them too. */
  faults: string[]
}

/** The lines that test/lab/tests/timed.mts prints. */
const times = (output: string): Result['tests'] =>
  [...output.matchAll(/^ *(\d+\.\d) s  (.+)$/gm)].map(([, seconds, name = '']) => ({ name, seconds: Number(seconds) }))

/**
 * What failed in a file: each test by name with what matters of its words, and what the file threw outside of its tests.
 * A script's whole output is such words: its steps that failed, else its end, tell the cause.
 */
const faultsIn = (output: string): string[] => {
  const tests = [...output.matchAll(/^ +FAIL {2}("[^]*?)(?=\n +at )/gm)].map(([, text = '']) => text)
  const thrown = output.split(/^(?=\w*(?:Error|Assertion)\b.*: )/m).slice(1).map((text) => text.split(/\n +at /)[0]!)
  return [...tests, ...thrown].flatMap((text) => {
    const [name = '', ...words] = text.split('\n').map((line) => line.trimEnd()).filter((line) => line.trim() !== '')
    const failed = words.filter((line) => line.includes('✗'))
    return [name, ...(failed.length > 0 ? failed.slice(0, 4) : words.slice(-4))].map((line) => line.slice(0, 200))
  })
}

const GiB = 2 ** 30

const left = (): Pick<Result, 'disk' | 'memory'> => {
  const { bavail, bsize } = statfsSync('/')
  return { disk: (bavail * bsize) / GiB, memory: freemem() / GiB }
}

/** Runs a file; what it prints is shown as it comes, or at its end where others run beside it. */
const runFile = (file: string, { live }: { live: boolean }): Promise<Result> =>
  new Promise((resolve) => {
    const began = performance.now()
    // What a test leaves in its temporary folder goes with it. A test of the lab may start a daemon, which keeps its own.
    const scratch = file.startsWith('test/unit/') ? mkdtempSync(join(tmpdir(), 'keybuzz-test-')) : undefined
    const env = { ...process.env, ...(scratch === undefined ? {} : { TMPDIR: scratch }) }
    const child = spawn(process.execPath, [file], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let kept = ''
    const show = (text: string): void => {
      if (live) process.stdout.write(text)
      else kept += text
    }
    show(`\n${file}\n`)
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (data: Buffer) => {
        output += data.toString()
        show(data.toString())
      })
    }
    child.on('close', (code) => {
      if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true })
      process.stdout.write(kept)
      const total = Number(/Total:\s+(\d+)/.exec(output)?.[1] ?? 0)
      const passed = Number(/Passed:\s+(\d+)/.exec(output)?.[1] ?? 0)
      const broken = total === 0 || code !== 0 ? 1 : 0
      const failed = Math.max(total - passed, broken)
      if (failed > 0 && file.startsWith('test/lab/')) spawnSync(process.execPath, ['test/lab/diagnose.mts'], { stdio: 'inherit' })
      resolve({ file, seconds: (performance.now() - began) / 1000, passed, failed, tests: times(output), ...left(), faults: failed > 0 ? faultsIn(output) : [] })
    })
  })

const wanted = process.argv.slice(2).map((name) => {
  const suite = suites[name]
  if (!suite?.files.length) throw new Error(`no test files for ${name}; the suites are ${Object.keys(suites).join(', ')}`)
  return suite
})
if (wanted.length === 0) throw new Error(`name a suite: ${Object.keys(suites).join(', ')}`)

const results: Result[] = []
const began = performance.now()
for (const { files, atOnce } of wanted) {
  results.push(...(await pMap(files, (file) => runFile(file, { live: atOnce === 1 }), { concurrency: atOnce })))
}

const line = (seconds: number, text: string, indent = 0): void =>
  console.log(`${' '.repeat(indent)}${seconds.toFixed(1).padStart(8)} s  ${text}`)
console.log('\nWhat took the time:')
for (const { file, seconds, failed, tests } of results) {
  line(seconds, `${relative('test', file)}${failed > 0 ? '  FAILED' : ''}`)
  for (const test of tests) line(test.seconds, test.name, 6)
}
line((performance.now() - began) / 1000, 'from beginning to end')

// A log may be cut to its last lines: each failure is told here with its words, the first one last, as the others often follow from it.
const failures = results.filter(({ failed }) => failed > 0)
for (const { file, failed, faults } of failures.toReversed()) {
  const lines = faults.slice(0, file === failures[0]!.file ? 8 : 3)
  console.log(`\nFailed: ${relative('test', file)} (${failed})\n${lines.map((fault) => `    ${fault}`).join('\n')}`)
}
const sum = (key: 'passed' | 'failed'): number => results.reduce((total, result) => total + result[key], 0)
const least = (key: 'disk' | 'memory'): string => Math.min(...results.map((result) => result[key])).toFixed(0)
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed; ${least('disk')} GiB of disk and ${least('memory')} GiB of memory were left at least`)
process.exitCode = sum('failed') === 0 ? 0 : 1
