import KeelCore
import KeelTensor
import Testing

/// Reproducible tensors of numbers in an interval.
package struct Generator: Sendable {
    let stream: RandomStream

    package init(_ place: String) { stream = RandomStream(seed: 7, place: place) }

    package func doubles(
        _ count: Int, _ range: ClosedRange<Double> = -1...1, number: Int = 0
    ) -> [Double] {
        (0..<count).map {
            range.lowerBound
                + (range.upperBound - range.lowerBound)
                * stream.uniform(UInt64(number * 1_000_003 + $0))
        }
    }

    package func tensor(_ shape: [Int], _ device: Device) -> Tensor {
        tensor(shape, -1...1, device)
    }

    package func tensor(
        _ shape: [Int], _ range: ClosedRange<Double> = -1...1, number: Int = 0, dtype: DType = .f64,
        _ device: Device
    ) -> Tensor {
        Tensor(
            doubles(Shape.count(shape), range, number: number), shape: shape, dtype: dtype,
            device: device)
    }
}

/// Expects the tape's gradient of `f` to equal central differences in f64.
///
/// The scalar compared is Σ r · f(inputs) with fixed random r, so that every output counts.
///
/// - Parameters:
///   - inputs: f64 tensors; each is differentiated.
///   - cells: at most so many cells of each input are tried.
package func gradCheck(
    _ inputs: [Tensor], _ what: String = "", tolerance: Tolerance = .differences, cells: Int = 64,
    sourceLocation: SourceLocation = #_sourceLocation, _ f: ([Tensor]) -> Tensor
) {
    let device = inputs[0].device
    func loss(_ tensors: [Tensor]) -> Tensor {
        let y = f(tensors)
        let weights = Generator("gradCheck").tensor(y.shape, 0.5...1.5, device)
        return (y * weights).sum()
    }
    let tape = Tape()
    let leaves = inputs.map { tape.leaf($0) }
    tape.backward(loss(leaves))
    let h = 1e-5
    for (i, input) in inputs.enumerated() {
        let all =
            tape.gradient(of: leaves[i])?.doubles() ?? [Double](repeating: 0, count: input.count)
        let values = input.doubles()
        let step = max(1, input.count / cells)
        let tried = Array(stride(from: 0, to: input.count, by: step))
        let differences = tried.map { cell in
            let sides = [h, -h].map { shift in
                var moved = values
                moved[cell] += shift
                var tensors = inputs
                tensors[i] = Tensor(moved, shape: input.shape, device: device)
                return loss(tensors).item()
            }
            return (sides[0] - sides[1]) / (2 * h)
        }
        expectClose(
            tried.map { all[$0] }, differences, tolerance, "\(what): gradient of input \(i)",
            sourceLocation: sourceLocation)
    }
}
