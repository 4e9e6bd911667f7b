/** Lists of findings with a bound: a file with ten million faults gives the first ones, and the exact count of the rest. */
import type { Finding, JsonDocument } from './types.js';

/** Stands for findings of one code that were counted and not kept. It is the last of its code, and points at the whole value. */
export interface MoreFindings extends Finding {
  readonly more: number;
  /** The count is a lower bound: what counts stopped as well. */
  readonly atLeast?: true;
}

/** What is said of one fault; the line is looked up. */
export interface FaultDetail {
  /** JSON pointer */
  readonly at: string;
  readonly expected: string;
  readonly found: string;
  readonly hint?: string;
}

export interface FindingList {
  /** `detail` is only called for a fault that is kept. */
  error(code: string, detail: () => FaultDetail): void;
  warning(code: string, detail: () => FaultDetail): void;
  /** Findings made elsewhere, with the counts they stand for. */
  add(findings: readonly Finding[]): void;
  /** All faults so far, those not kept too. */
  readonly errors: number;
  readonly warnings: number;
  /** Those kept, in the order they were added, then one `MoreFindings` for every code with more of them. */
  all(): Finding[];
}

/** Findings kept of each code. */
export const keptPerCode = 100;

/** An empty list. `document` tells lines; of each code the first `limit` findings are kept. */
export function findingList(document?: Pick<JsonDocument, 'line'>, limit = keptPerCode): FindingList {
  const kept: Finding[] = [];
  const counts = new Map<
    string,
    { level: Finding['level']; code: string; kept: number; more: number; atLeast: boolean }
  >();
  const totals = { error: 0, warning: 0 };

  const countOf = (level: Finding['level'], code: string): { kept: number; more: number; atLeast: boolean } => {
    const key = `${level} ${code}`;
    let count = counts.get(key);
    if (count === undefined) counts.set(key, (count = { level, code, kept: 0, more: 0, atLeast: false }));
    return count;
  };
  const note = (level: Finding['level'], code: string, detail: () => FaultDetail): void => {
    totals[level]++;
    const count = countOf(level, code);
    if (count.kept === limit) {
      count.more++;
      return;
    }
    count.kept++;
    kept.push(withLine({ level, code, ...detail() }, document));
  };

  return {
    error: (code, detail) => note('error', code, detail),
    warning: (code, detail) => note('warning', code, detail),
    add(findings) {
      for (const finding of findings) {
        const { level, code } = finding;
        const count = countOf(level, code);
        if (isMore(finding)) {
          count.more += finding.more;
          totals[level] += finding.more;
          count.atLeast ||= finding.atLeast === true;
        } else {
          totals[level]++;
          if (count.kept === limit) count.more++;
          else {
            count.kept++;
            kept.push(finding);
          }
        }
      }
    },
    get errors() {
      return totals.error;
    },
    get warnings() {
      return totals.warning;
    },
    all: () => [
      ...kept,
      ...[...counts.values()]
        .filter((count) => count.more > 0)
        .map(({ level, code, more, atLeast }) => moreFindings(level, code, more, atLeast)),
    ],
  };
}

/** The finding that stands for `more` others. */
export function moreFindings(level: Finding['level'], code: string, more: number, atLeast = false): MoreFindings {
  const found = `${atLeast ? 'at least ' : ''}${more} more`;
  return { level, code, at: '', expected: 'none', found, more, ...(atLeast ? { atLeast: true } : {}) };
}

/** Does this finding stand for several that were not kept? */
export function isMore(finding: Finding): finding is MoreFindings {
  return typeof (finding as Partial<MoreFindings>).more === 'number';
}

/** How many faults a list of findings tells of; `atLeast` when that is a lower bound. */
export function countFindings(findings: readonly Finding[]): {
  readonly errors: number;
  readonly warnings: number;
  readonly atLeast: boolean;
} {
  const totals = { error: 0, warning: 0 };
  for (const finding of findings) totals[finding.level] += isMore(finding) ? finding.more : 1;
  return {
    errors: totals.error,
    warnings: totals.warning,
    atLeast: findings.some((finding) => isMore(finding) && finding.atLeast === true),
  };
}

/** The finding with the line of its value; of a missing member, the line of what lacks it. */
export function withLine(finding: Finding, document: Pick<JsonDocument, 'line'> | undefined): Finding {
  if (document === undefined || finding.line !== undefined) return finding;
  for (let at = finding.at; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
    const line = document.line(at);
    if (line !== undefined) return { ...finding, line };
    if (at === '') return finding;
  }
}
