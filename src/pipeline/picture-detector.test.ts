import { expect, test } from 'vitest';
import { nounOf, PictureBoxes, type PictureDetector } from './picture-detector.js';

test('a class of a head is found by the name before its synonyms, whatever the case', () => {
  const nouns = ['hand', 'cup_(cup,_fork)', 'dining_table_(desk)', 'Wine glass', 'cup'];
  expect(['cup', 'dining table', 'wine glass', 'person'].map((name) => nounOf(name, nouns))).toEqual([
    1,
    2,
    3,
    undefined,
  ]);
  expect([nounOf(undefined, nouns), nounOf('cup', undefined)]).toEqual([undefined, undefined]);
});

test('boxes are in pixels of their frame; those of classes that the head does not have carry no noun', async () => {
  const looked: [string, number[]][] = [];
  const detector: Pick<PictureDetector, 'look' | typeof Symbol.asyncDispose> & { folder: { nouns: string[] } } = {
    folder: { nouns: ['cup', 'person'] },
    look: (path, frames) => {
      looked.push([path, [...frames]]);
      const box = [0.25, 0.5, 0.75, 1] as const;
      const found = [0, 1].map((classId) => ({ box, classId, score: 0.5 - 0.25 * classId }));
      return Promise.resolve(new Map([...frames].map((frame) => [frame, found])));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  // Of its folder only the names are looked at.
  const boxes = new PictureBoxes(detector as unknown as PictureDetector);
  await boxes.look('a.mp4', [7, 3]);
  expect(looked).toEqual([['a.mp4', [7, 3]]]);
  expect(boxes.of({ path: 'a.mp4', frame: 3 }, [200, 100], ['plate', 'cup'])).toEqual([
    { box: [50, 50, 150, 100], score: 0.5, noun: 1 },
    { box: [50, 50, 150, 100], score: 0.25 },
  ]);
  expect(() => boxes.of({ path: 'a.mp4', frame: 4 }, [200, 100], undefined)).toThrow('was not looked at');
  expect(() => boxes.of({ path: 'b.mp4', frame: 3 }, [200, 100], undefined)).toThrow('was not looked at');
});
