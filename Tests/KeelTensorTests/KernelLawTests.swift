import KeelTensor
import KeelTestSupport
import Testing

/// What holds for every fused operation, forward and backward: precision, instruction sets, threads.
@Suite struct KernelLawTests {
    let device = Device.cpu(threads: 2)

    @Test(arguments: OpCase.all) func f32AgreesWithF64(_ op: OpCase) {
        for (i, pair) in zip(op.values(.f32, device), op.values(.f64, device)).enumerated() {
            expectClose(pair.0, pair.1, .f32Reduction(op.terms), "\(op.name), result \(i)")
        }
    }

    /// Inputs are exact in bf16.
    ///
    /// An output is rounded once; a gradient passes through up to three rounded tensors (the
    /// output, dy, an inner gradient), and sums of such errors stay below the largest cells' share.
    @Test(arguments: OpCase.all, ISA.allCases) func bf16AgreesWithF64(_ op: OpCase, _ isa: ISA) {
        let device = Device.cpu(threads: 2, isa: isa)
        for (i, pair) in zip(op.values(.bf16, device), op.values(.f64, device)).enumerated() {
            let scale = pair.1.doubles().reduce(0) { max($0, abs($1)) }
            let tolerance = Tolerance(relative: 4 * 0x1p-8, absolute: 4 * 0x1p-8 * max(scale, 0.01))
            expectClose(pair.0, pair.1, tolerance, "\(op.name), result \(i)")
        }
    }

    /// Rounding the probabilities, as the dot products of bf16 pairs ask for, costs about as much as rounding the
    /// result does: errors of both, added as squares, come to 1.4 times one of them.
    @Test(arguments: OpCase.all.filter { $0.name.hasPrefix("attention") })
    func roundedProbabilitiesStayWithinTheRoundingOfTheResult(_ op: OpCase) {
        func errors(_ isa: ISA) -> [Double] {
            let device = Device.cpu(threads: 2, isa: isa)
            return zip(op.values(.bf16, device), op.values(.f64, device)).map { got, exact in
                zip(got.doubles(), exact.doubles()).reduce(0) {
                    $0 + ($1.0 - $1.1) * ($1.0 - $1.1)
                }.squareRoot()
            }
        }
        for (i, pair) in zip(errors(.best), errors(.avx2)).enumerated() {
            #expect(pair.0 <= 2 * pair.1, "\(op.name), result \(i)")
        }
    }

    @Test(arguments: OpCase.all, [DType.f32, .bf16]) func sameBitsForAnyNumberOfThreads(
        _ op: OpCase, _ dtype: DType
    ) {
        let one = op.values(dtype, Device.cpu(threads: 1))
        for threads in [2, 3] {
            for (i, pair) in zip(op.values(dtype, Device.cpu(threads: threads)), one).enumerated() {
                #expect(
                    pair.0.bytes() == pair.1.bytes(), "\(op.name), result \(i), \(threads) threads")
            }
        }
    }

    /// The same sums in the same order: only fused multiply-adds differ.
    ///
    /// oneDNN is the same in all.
    @Test(arguments: OpCase.all, [ISA.portable, .avx2]) func instructionSetsAgree(
        _ op: OpCase, _ isa: ISA
    ) {
        let best = op.values(.f32, device)
        let other = Device.cpu(threads: 2, isa: isa)
        #expect(other.isa.rawValue <= isa.rawValue)
        for (i, pair) in zip(op.values(.f32, other), best).enumerated() {
            expectClose(pair.0, pair.1, .f32Reduction(op.terms), "\(op.name), result \(i), \(isa)")
        }
    }

    @Test(arguments: OpCase.all) func twoRunsGiveTheSameBits(_ op: OpCase) {
        for (a, b) in zip(op.values(.f32, device), op.values(.f32, device)) {
            #expect(a.bytes() == b.bytes())
        }
    }
}
