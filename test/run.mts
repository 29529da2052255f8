// Runs the test files of the given suites, each in a process of its own:  node test/run.mts unit lab
// The suites are unit, lab and long; long is what of the lab does not run in `npm test`.
// A file that ran no test has failed: with uvu, a throwing `before` would pass.

import { spawn, spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { relative } from 'node:path'

const suites: Record<string, string[]> = {
  unit: globSync('test/unit/**/*.test.mts').toSorted(),
  // In this order: each works on the cluster that the ones before it have left.
  lab: globSync('test/lab/tests/*.test.mts').toSorted(),
  long: globSync('test/lab/long/*.test.mts').toSorted()
}

type Outcome = { passed: number; failed: number; tests: { name: string; seconds: number }[] }

/** The lines that test/lab/tests/timed.mts prints. */
const times = (output: string): Outcome['tests'] =>
  [...output.matchAll(/^ *(\d+\.\d) s  (.+)$/gm)].map(([, seconds, name = '']) => ({ name, seconds: Number(seconds) }))

const runFile = (file: string): Promise<Outcome> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString()
      process.stdout.write(data)
    })
    child.on('close', (code) => {
      const total = Number(/Total:\s+(\d+)/.exec(output)?.[1] ?? 0)
      const passed = Number(/Passed:\s+(\d+)/.exec(output)?.[1] ?? 0)
      const broken = total === 0 || code !== 0 ? 1 : 0
      resolve({ passed, failed: Math.max(total - passed, broken), tests: times(output) })
    })
  })

const wanted = process.argv.slice(2)
const files = wanted.flatMap((suite) => {
  if (!suites[suite]?.length) throw new Error(`no test files for ${suite}; the suites are ${Object.keys(suites).join(', ')}`)
  return suites[suite]
})
if (files.length === 0) throw new Error(`name a suite: ${Object.keys(suites).join(', ')}`)

const results: (Outcome & { file: string; seconds: number })[] = []
for (const file of files) {
  console.log(`\n${file}`)
  const started = performance.now()
  const result = await runFile(file)
  results.push({ file, ...result, seconds: (performance.now() - started) / 1000 })
  if (result.failed > 0 && file.startsWith('test/lab/')) spawnSync(process.execPath, ['test/lab/diagnose.mts'], { stdio: 'inherit' })
}

console.log('\nWhat took the time:')
for (const { file, seconds, failed, tests } of results) {
  console.log(`${seconds.toFixed(1).padStart(8)} s  ${relative('test', file)}${failed > 0 ? '  FAILED' : ''}`)
  for (const test of tests) console.log(`${test.seconds.toFixed(1).padStart(16)} s  ${test.name}`)
}
const all = results.reduce((total, { seconds }) => total + seconds, 0)
console.log(`${all.toFixed(1).padStart(8)} s  together`)
const sum = (key: 'passed' | 'failed'): number => results.reduce((total, result) => total + result[key], 0)
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`)
process.exitCode = sum('failed') === 0 ? 0 : 1
