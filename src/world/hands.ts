/** A hand with its forearm as painted polygons, in scene units, and the points of it that truth speaks of. */
import { applied, capsule, mapped, placed, polygon, type Affine } from './geometry.js';
import type { Part } from './shapes.js';

export type Side = 'left' | 'right';

/** Where a hand is: its palm, the way its fingers point (0 = up, clockwise), how far it is closed. */
export interface HandPose {
  readonly x: number;
  readonly y: number;
  readonly angle: number;
  /** 0 flat, 1 fist. */
  readonly grip: number;
}

/** What belongs to the person who wears the camera. */
export interface HandBuild {
  /** 0.9 to 1.12 of the common size. */
  readonly size: number;
  /** 0 short, 1 long sleeve. */
  readonly sleeve: number;
}

/** From the palm to the place between the fingertips where things are held, in units of the hand's size. */
export const reachOfHand = 11.5;

/** The pose that holds (x, y) between its fingertips. */
export function handHolding(x: number, y: number, angle: number, grip: number, reach: number = reachOfHand): HandPose {
  return { x: x - Math.sin(angle) * reach, y: y + Math.cos(angle) * reach, angle, grip };
}

/** Where the point at this distance before the palm is. */
export function pointBefore(pose: HandPose, reach: number): readonly [x: number, y: number] {
  return [pose.x + Math.sin(pose.angle) * reach, pose.y - Math.cos(pose.angle) * reach];
}

/** The elbow stays below the picture. */
export function elbowOf(side: Side, pose: HandPose): readonly [x: number, y: number] {
  const home = side === 'left' ? 26 : 107;
  return [home + 0.35 * (pose.x - home), 152 + 0.15 * (pose.y - 60)];
}

const knuckles = [
  { x: -4.1, y: -4.6, length: 8.2, radius: 1.75 },
  { x: -1.4, y: -5.6, length: 9.8, radius: 1.85 },
  { x: 1.5, y: -5.5, length: 9.2, radius: 1.8 },
  { x: 4.1, y: -4.4, length: 7, radius: 1.55 },
] as const;

/** Back to front; seen from behind, as the wearer sees it: the right thumb is on the left. */
export function handParts(side: Side, pose: HandPose, build: HandBuild): readonly Part[] {
  const mirror = side === 'right' ? 1 : -1;
  const map = placed(pose.x, pose.y, pose.angle, build.size * mirror, build.size);
  return [...forearm(side, pose, build, map), ...palmAndFingers(pose.grip, map)];
}

function forearm(side: Side, pose: HandPose, build: HandBuild, map: Affine): Part[] {
  const [wristX, wristY] = applied(map, 0, 5.5);
  const [elbowX, elbowY] = elbowOf(side, pose);
  const cuffAt = 0.16 + 0.5 * (1 - build.sleeve);
  const [cuffX, cuffY] = [wristX + (elbowX - wristX) * cuffAt, wristY + (elbowY - wristY) * cuffAt];
  const { size } = build;
  return [
    { points: capsule(wristX, wristY, 3.5 * size, elbowX, elbowY, 6.4 * size), paint: 'skin' },
    { points: capsule(cuffX, cuffY, 5.6 * size, elbowX, elbowY, 8.2 * size), paint: 'sleeve' },
    {
      points: capsule(
        cuffX,
        cuffY,
        5.5 * size,
        cuffX + 0.04 * (elbowX - cuffX),
        cuffY + 0.04 * (elbowY - cuffY),
        5.8 * size,
      ),
      paint: 'sleeveDark',
      inner: true,
    },
  ];
}

function palmAndFingers(grip: number, map: Affine): Part[] {
  const bend = 1 - 0.5 * grip;
  const palm = polygon(-5.4, -3.6, -4.4, -6, 0, -6.9, 4.4, -6, 5.5, -3.4, 4.8, 3.4, 3.3, 6.6, -3.1, 6.6, -4.9, 3);
  const fingers = knuckles.map(({ x, y, length, radius }) => {
    const [tipX, tipY] = [x * (1.12 - 0.42 * grip), y - length * bend];
    return { points: capsule(x, y, radius, tipX, tipY, radius * 0.82), nail: [tipX, tipY] as const, radius };
  });
  const thumbTip = [-9.4 + 4.6 * grip, -4.6 - 3.2 * grip] as const;
  const thumb = capsule(-4.4, 1.4, 2.2, thumbTip[0], thumbTip[1], 1.7);
  return [
    { points: mapped(map, palm), paint: 'skin' },
    ...fingers.flatMap(({ points, nail, radius }): Part[] => [
      { points: mapped(map, points), paint: 'skin' },
      {
        points: mapped(map, capsule(nail[0], nail[1] + 0.3, radius * 0.42, nail[0], nail[1] - 0.3, radius * 0.42)),
        paint: 'nail',
        inner: true,
      },
    ]),
    { points: mapped(map, thumb), paint: 'skin' },
    {
      points: mapped(map, capsule(thumbTip[0], thumbTip[1], 0.7, thumbTip[0] - 0.4, thumbTip[1] - 0.6, 0.6)),
      paint: 'nail',
      inner: true,
    },
    { points: mapped(map, capsule(-3, -4.2, 0.35, 3.2, -4.6, 0.35)), paint: 'skinDark', alpha: 0.35, inner: true },
  ];
}
