import KeelTensor
import KeelTestSupport
import Testing

@Suite struct OptimTests {
    /// The formula, one number at a time in f64.
    func reference(
        _ w: Double, _ gradients: [Double], lr: Double, decay: Double, scale: Double
    ) -> Double {
        var (w, m, v) = (w, 0.0, 0.0)
        var (p1, p2) = (1.0, 1.0)
        for g in gradients.map({ $0 * scale }) {
            p1 *= 0.9
            p2 *= 0.95
            w *= 1 - lr * decay
            m = 0.9 * m + 0.1 * g
            v = 0.95 * v + 0.05 * g * g
            w -= lr * (m / (1 - p1)) / ((v / (1 - p2)).squareRoot() + 1e-8)
        }
        return w
    }

    @Test(arguments: [DType.f32, .f64], [1, 2]) func adamWFollowsTheFormula(
        _ dtype: DType, threads: Int
    ) {
        let device = Device.cpu(threads: threads)
        let count = 70_001  // more than one tile, not a multiple of the lanes
        let random = Generator("adamw")
        let start = random.tensor([count], number: 0, dtype: dtype, device)
        let gradients = (1...3).map { random.tensor([count], number: $0, dtype: dtype, device) }
        let master = Tensor(zeros: [count], dtype: dtype, device: device)
        master.copy(from: start)
        let low = Tensor(zeros: [count], dtype: .bf16, device: device)
        let (m, v) = (
            Tensor(zeros: [count], dtype: dtype, device: device),
            Tensor(zeros: [count], dtype: dtype, device: device)
        )
        for (i, gradient) in gradients.enumerated() {
            let p = Optim.Parameter(
                master: master, gradient: gradient, m: m, v: v,
                lowPrecision: dtype == .f32 ? low : nil,
                lr: 0.01, weightDecay: 0.1)
            Optim.adamW([p], beta1: 0.9, beta2: 0.95, eps: 1e-8, step: i + 1, scale: 0.5)
        }
        let (w0, g, result) = (start.doubles(), gradients.map { $0.doubles() }, master.doubles())
        let cells = Array(stride(from: 0, to: count, by: 997)) + [65_535, 65_536, count - 1]
        // A step is at most lr wide and m / sqrt(v) is off by a few ulps (by more where gradients cancel).
        let tolerance =
            dtype == .f32 ? Tolerance(relative: 1e-6, absolute: 1e-7) : Tolerance(relative: 1e-13)
        expectClose(
            cells.map { result[$0] },
            cells.map { cell in
                reference(w0[cell], g.map { $0[cell] }, lr: 0.01, decay: 0.1, scale: 0.5)
            },
            tolerance, "AdamW")
        if dtype == .f32 { #expect(low.bytes() == master.cast(.bf16).bytes()) }
    }

    @Test func squaredNormHasTheSameBitsForAnyNumberOfThreads() {
        let norms = [1, 2, 3].map { threads in
            let device = Device.cpu(threads: threads)
            return Optim.squaredNorm([
                Generator("norm").tensor([300_007], number: 0, dtype: .f32, device),
                Generator("norm").tensor([5], number: 1, dtype: .f32, device),
            ])
        }
        #expect(norms[0] == norms[1] && norms[0] == norms[2])
        let device = Device.cpu(threads: 1)
        #expect(Optim.squaredNorm([Tensor([Float(3), 4], device: device)]) == 25)
        #expect(Optim.squaredNorm([]) == 0)
    }
}
