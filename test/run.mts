// Runs the test files of the given suites, each in a process of its own:  node test/run.mts unit lab
// The suites are unit, lab and long; long is what of the lab does not run in `npm test`.
// A file that ran no test has failed: with uvu, a throwing `before` would pass.

import { spawn, spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { relative } from 'node:path'
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

type Result = { file: string; seconds: number; passed: number; failed: number; tests: { name: string; seconds: number }[] }

/** The lines that test/lab/tests/timed.mts prints. */
const times = (output: string): Result['tests'] =>
  [...output.matchAll(/^ *(\d+\.\d) s  (.+)$/gm)].map(([, seconds, name = '']) => ({ name, seconds: Number(seconds) }))

/** Runs a file; what it prints is shown as it comes, or at its end where others run beside it. */
const runFile = (file: string, { live }: { live: boolean }): Promise<Result> =>
  new Promise((resolve) => {
    const began = performance.now()
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', live ? 'inherit' : 'pipe'] })
    let output = ''
    let kept = ''
    const show = (text: string): void => {
      if (live) process.stdout.write(text)
      else kept += text
    }
    show(`\n${file}\n`)
    child.stdout?.on('data', (data: Buffer) => {
      output += data.toString()
      show(data.toString())
    })
    child.stderr?.on('data', (data: Buffer) => show(data.toString()))
    child.on('close', (code) => {
      process.stdout.write(kept)
      const total = Number(/Total:\s+(\d+)/.exec(output)?.[1] ?? 0)
      const passed = Number(/Passed:\s+(\d+)/.exec(output)?.[1] ?? 0)
      const broken = total === 0 || code !== 0 ? 1 : 0
      const failed = Math.max(total - passed, broken)
      if (failed > 0 && file.startsWith('test/lab/')) spawnSync(process.execPath, ['test/lab/diagnose.mts'], { stdio: 'inherit' })
      resolve({ file, seconds: (performance.now() - began) / 1000, passed, failed, tests: times(output) })
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
const sum = (key: 'passed' | 'failed'): number => results.reduce((total, result) => total + result[key], 0)
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed`)
process.exitCode = sum('failed') === 0 ? 0 : 1
