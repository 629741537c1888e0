import KeelBridge
import KeelCore
import KeelTensor

/// `keel math`: one JSON object per stdin line, one per answer.
package enum MathAnswers {
    /// The functions, sorted.
    package static var names: [String] { Math.names(more: MathHeads.functions) }

    /// - Throws: `KeelError` (usage) for an unknown function, before anything is read.
    package static func run(
        _ name: String, precision: ObjectiveInstance.Precision
    ) throws -> ExitCode {
        _ = try Math.function(name, more: MathHeads.functions)
        let device = Device.cpu(threads: 1)
        return try LineAnswers.run {
            try answer(name, $0, precision: precision, device: device)
        }
    }

    /// The answer to one question.
    ///
    /// - Throws: `KeelError` (usage) for an unknown name, (badData) for arrays that do not fit.
    package static func answer(
        _ name: String, _ request: JSON, precision: ObjectiveInstance.Precision, device: Device
    ) throws -> JSON {
        try Math.answer(
            name, request, more: MathHeads.functions, precision: precision, device: device)
    }
}
