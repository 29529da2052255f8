// The alerts of manifests/07_monitoring/rules, as the dashboards need them.
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parse } from 'yaml'

export type Alert = { name: string; severity: string; expr: string; dashboard: string; runbook: string }

type RuleFile = {
  groups: {
    rules: { alert?: string; expr: string; labels?: Record<string, string>; annotations?: Record<string, string> }[]
  }[]
}

const folder = join(import.meta.dirname, '../manifests/07_monitoring/rules')

/** All alerts, by their names. Throws where two have the same name. */
export const readAlerts = (): Map<string, Alert> => {
  const alerts = new Map<string, Alert>()
  for (const file of globSync('*.yaml', { cwd: folder }).toSorted()) {
    const { groups } = parse(readFileSync(join(folder, file), 'utf8')) as RuleFile
    for (const { alert, expr, labels = {}, annotations = {} } of groups.flatMap(({ rules }) => rules)) {
      if (alert === undefined) continue
      if (alerts.has(alert)) throw new Error(`${basename(file)} has a second alert ${alert}`)
      const { severity = '' } = labels
      const { dashboard = '', runbook = '' } = annotations
      alerts.set(alert, { name: alert, severity, expr: String(expr), dashboard, runbook })
    }
  }
  return alerts
}

/** Where an alert's expression begins to fire: above or below a number, in the unit of the expression. */
export type Limit = { fires: 'above' | 'below'; at: number; colour: 'red' | 'orange' }

// A comparison with a number. Products such as 60 * 86400 are one, 0.8 * quota is none.
const COMPARISON = /(==|!=|>=|<=|>|<)\s*(?:bool\s+)?(-?[\d.]+(?:e-?\d+)?(?:\s*\*\s*[\d.]+)*)(?![\w.]|\s*[*/+-])/g

// What counts is the first of the outermost comparisons: further ones, after `and` or in brackets, only choose the series.
const comparisonOf = ({ name, expr }: Alert): { operator: string; value: number; at: number } => {
  const text = expr.replaceAll(/"[^"]*"/g, (quoted) => '"'.repeat(quoted.length))
  const depth = (at: number): number => {
    const before = text.slice(0, at)
    return before.split('(').length - before.split(')').length
  }
  const [first] = [...text.matchAll(COMPARISON)].toSorted((one, other) => depth(one.index) - depth(other.index))
  if (!first) throw new Error(`${name} compares with no number: ${expr}`)
  const [, operator = '', numbers = ''] = first
  return { operator, value: numbers.split('*').reduce((product, number) => product * Number(number), 1), at: first.index }
}

/**
 * The number that an alert compares with, read from its expression, so that a line on a panel is the alert's own. Throws where
 * there is none: then a panel can only name the alert.
 */
export const limitOf = (alert: Alert): Limit => {
  const { operator, value } = comparisonOf(alert)
  const colour = alert.severity === 'page' ? 'red' : 'orange'
  // What is 0 or 1 is at fault at 0, or else at 1. A number above 0 is at fault from the first one on.
  if (operator === '==' && value > 0) return { fires: 'above', at: value, colour }
  if (operator === '==') return { fires: 'below', at: value + 1, colour }
  if (operator === '!=' || operator.startsWith('<')) return { fires: 'below', at: value, colour }
  return { fires: 'above', at: value === 0 ? Number.EPSILON : value, colour }
}

/** What an alert compares: its expression up to the comparison. Throws where that is inside of a function. */
export const measuredBy = (alert: Alert): string => {
  const measured = alert.expr.slice(0, comparisonOf(alert).at).trim()
  if (measured.split('(').length !== measured.split(')').length) throw new Error(`${alert.name} compares inside of a function`)
  return measured
}
