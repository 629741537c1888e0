import Glibc
import Synchronization

/// What the time of a run goes to.
package enum Stage: Int, CaseIterable, Sendable {
    /// Matrix products of the layers, forward and backward.
    case products
    /// The LM head with softmax and loss of the tokens, forward and backward.
    case head
    case attention
    /// Norms, activations, rotations, sums, conversions, embeddings.
    case elementwise
    /// Norm of the gradients, AdamW, gradients set to zero.
    case optimizer
    /// Distributions and draws of generation.
    case sampling
    /// Objective, rewards and samplers.
    case plugins
    /// Rows, tokens and columns.
    case data
    /// Checkpoints and fingerprints of files.
    case files

    /// As tables and traces call it.
    package var name: String { "\(self)" }
}

/// CPU and wall seconds by stage, counted from the moment they are asked for.
///
/// CPU seconds are those of all threads. Only the thread that asked for the clock counts, and of stages inside each
/// other the outer one: what the threads of the pool do is part of the stage that set them to work.
package enum StageClock {
    /// What one stage took.
    package struct Times: Sendable, Equatable {
        package var cpu = 0.0
        package var wall = 0.0
        package var calls = 0
        /// Floating point operations that the result needed; no padding, nothing computed a second time.
        package var flops = 0.0

        /// The difference to an earlier reading.
        package static func - (a: Times, b: Times) -> Times {
            Times(
                cpu: a.cpu - b.cpu, wall: a.wall - b.wall, calls: a.calls - b.calls,
                flops: a.flops - b.flops)
        }
    }

    /// All stages at one moment.
    package struct Reading: Sendable {
        package fileprivate(set) var stages = [Times](
            repeating: Times(), count: Stage.allCases.count)
        /// The whole process and run.
        package fileprivate(set) var total = Times()

        package subscript(stage: Stage) -> Times { stages[stage.rawValue] }

        /// What was counted between two readings.
        package static func - (a: Reading, b: Reading) -> Reading {
            var difference = Reading()
            difference.stages = zip(a.stages, b.stages).map { $0 - $1 }
            difference.total = a.total - b.total
            return difference
        }
    }

    private struct State: Sendable {
        var reading = Reading()
        var isInside = false
    }

    /// The thread that counts; 0 = nobody does.
    private static let owner = Atomic<UInt>(0)
    private static let state = Guarded(State())

    /// Counts what the calling thread does from now on.
    package static func start() {
        state.withLock { $0 = State() }
        owner.store(UInt(pthread_self()), ordering: .relaxed)
    }

    /// Ends the count.
    package static func stop() { owner.store(0, ordering: .relaxed) }

    /// What was counted since `start`; nil when nobody counts.
    package static func read() -> Reading? {
        guard owner.load(ordering: .relaxed) != 0 else { return nil }
        var reading = state.withLock { $0.reading }
        reading.total.cpu = Clock.cpu()
        reading.total.wall = Clock.now()
        reading.total.flops = reading.stages.reduce(0) { $0 + $1.flops }
        return reading
    }

    /// Does a piece of a stage's work.
    ///
    /// - Parameter flops: operations that the work needs.
    package static func measure<R>(
        _ stage: Stage, flops: @autoclosure () -> Double = 0, _ work: () throws -> R
    ) rethrows -> R {
        guard owner.load(ordering: .relaxed) != 0, owner.load(ordering: .relaxed) == pthread_self(),
            enter()
        else { return try work() }
        let (cpu, wall) = (Clock.cpu(), Clock.now())
        defer {
            let needed = flops()
            let (cpuEnd, wallEnd) = (Clock.cpu(), Clock.now())
            state.withLock { state in
                state.isInside = false
                state.reading.stages[stage.rawValue].cpu += cpuEnd - cpu
                state.reading.stages[stage.rawValue].wall += wallEnd - wall
                state.reading.stages[stage.rawValue].calls += 1
                state.reading.stages[stage.rawValue].flops += needed
            }
        }
        return try work()
    }

    /// False inside another stage.
    private static func enter() -> Bool {
        state.withLock { state in
            if state.isInside { return false }
            state.isInside = true
            return true
        }
    }
}
