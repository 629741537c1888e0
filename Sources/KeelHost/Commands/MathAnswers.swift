import KeelBridge
import KeelCore
import KeelTensor

/// `keel math`: one JSON object per stdin line, one per answer.
package enum MathAnswers {
    /// - Throws: `KeelError` (usage) for an unknown function, before anything is read.
    package static func run(
        _ name: String, precision: ObjectiveInstance.Precision
    ) throws -> ExitCode {
        try Math.check(name)
        let device = Device.cpu(threads: 1)
        return try LineAnswers.run {
            try Math.answer(name, $0, precision: precision, device: device)
        }
    }
}
