import KeelCore
import KeelTensor

/// A copy of a model's trained weights that follows them when it is told to: a slowly synced policy (GOLD's π_old).
///
/// It holds what is trained and nothing else: with an adapter, the adapter.
package final class LaggedWeights {
    private let parameters: [Parameter]
    private let kept: [Tensor]
    private let spare: [Tensor]

    /// A copy of the weights as they are.
    package init(_ parameters: [Parameter]) {
        self.parameters = parameters
        let empty = { (parameter: Parameter) in
            Tensor(
                zeros: parameter.shape, dtype: parameter.compute.dtype,
                device: parameter.compute.device)
        }
        kept = parameters.map(empty)
        spare = parameters.map(empty)
        sync()
    }

    /// Takes over the weights as they are.
    package func sync() {
        for (copy, parameter) in zip(kept, parameters) { copy.copy(from: parameter.compute) }
    }

    /// Does something with the model as it was at the last `sync`; afterwards it is what it was, bit for bit.
    ///
    /// - Parameter work: a pass without gradients; it must not touch the masters.
    package func with<T>(_ work: () throws -> T) rethrows -> T {
        for (current, parameter) in zip(spare, parameters) { current.copy(from: parameter.compute) }
        for (copy, parameter) in zip(kept, parameters) { parameter.overwriteCompute(copy) }
        defer {
            for (current, parameter) in zip(spare, parameters) {
                parameter.overwriteCompute(current)
            }
        }
        return try work()
    }

    // MARK: Files

    private static let file = "old_policy.safetensors"

    /// Writes the copy beside a checkpoint's weights.
    ///
    /// - Throws: `KeelError` (io, cannotCreate).
    package func save(to folder: String) throws {
        try SafetensorsWriter.write(
            Files.join(folder, LaggedWeights.file),
            zip(parameters, kept).map { SafetensorsWriter.Item($0.name, $1) },
            metadata: ["format": "pt"])
    }

    /// Reads what `save` wrote, exactly.
    ///
    /// - Throws: `KeelError`: `noInput` for a missing file, `badData` for one of another model.
    package func load(from folder: String) throws {
        let file = try SafetensorsFile(Files.join(folder, LaggedWeights.file))
        for (parameter, copy) in zip(parameters, kept) {
            guard let entry = file[parameter.name], entry.shape == parameter.shape else {
                throw KeelError(
                    "checkpoint",
                    "the copy of the policy has no \(parameter.name) of shape \(parameter.shape)",
                    at: file.path, fix: "resume with the config that the run was started with",
                    code: .badData)
            }
            copy.copy(from: try file.tensor(entry, dtype: copy.dtype, device: copy.device))
        }
    }
}
